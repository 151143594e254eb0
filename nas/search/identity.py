"""What makes two searches the same: for a run folder that goes on, for a study that is shared."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

MACHINES_OWN = ("folder", "device", "threads", "data")
"""Options of a proxy that may differ between machines; the data are named by their digest."""


def shared_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what commands must have in common to share a study.

    Seed and sampler are each command's own, and so are the places on its machine: table and spaces
    are named by their hashes.
    """
    left_out = ("seed", "sampler", "study", "table", "spaces")
    kept = {name: value for name, value in identity.items() if name not in left_out}
    proxy = kept["proxy"]
    kept["proxy"] = {name: proxy[name] for name in proxy if name not in MACHINES_OWN}
    return kept


def digest(identity: Mapping[str, Any]) -> str:
    """Return 8 hexadecimal digits that name a search."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]

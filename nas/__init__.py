"""Search MobileNetV3-style networks for a target CPU.

The public door: `Arch`, `Layer`, `SearchSpace`, `LatencyTable`, `build`, `count_macs`,
`count_params`. Only `build` needs torch, which is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from nas.arch import Arch, Layer
from nas.cost import count_macs, count_params
from nas.errors import NasError
from nas.latency.table import LatencyTable
from nas.space import SearchSpace

if TYPE_CHECKING:
    from nas.network.build import build

__all__ = [
    "Arch",
    "LatencyTable",
    "Layer",
    "NasError",
    "SearchSpace",
    "build",
    "count_macs",
    "count_params",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and most commands never need it.
    if name == "build":
        from nas.network.build import build

        return build
    raise AttributeError(f"module 'nas' has no attribute {name!r}")

"""What the runner says to whoever called it: marked lines of JSON, whatever else is printed.

Login scripts greet, runtimes warn: only marked lines count.
"""

import errno
import json
import sys
from collections.abc import Mapping
from typing import Any

MARK = "@nas-cpu "
# Of the kinds of trouble, each calls for other advice; the caller's side words it.
NO_ROOM, CORRUPT, MISSING_PACKAGE, OTHER = "no_room", "corrupt", "missing_package", "other"
# How a worker ended.
DONE, FAILED, STOPPED, KILLED = "done", "failed", "stopped", "killed"
# A quota and a limit on a file's size are a full disk to whoever writes.
_NO_ROOM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CorruptFileError(ValueError):
    """Report that a file arrived, or lies, other than its name says."""


def reply(content: Mapping[str, Any]) -> None:
    """Say one thing."""
    sys.stdout.write(f"{MARK}{json.dumps(content)}\n")
    sys.stdout.flush()


def parse_reply(line: str) -> dict[str, Any] | None:
    """Return what a line says; None where it is not marked, or was cut."""
    # What came before may have left its line open.
    _, _, text = line.partition(MARK)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def trouble(error: BaseException) -> dict[str, str]:
    """Return what to say of an error: its text, and of what kind it is."""
    kind = OTHER
    if isinstance(error, OSError) and error.errno in _NO_ROOM_ERRORS:
        kind = NO_ROOM
    elif isinstance(error, CorruptFileError):
        kind = CORRUPT
    elif isinstance(error, ImportError):
        kind = MISSING_PACKAGE
    name = getattr(error, "name", None) if isinstance(error, ImportError) else None
    text = f"{type(error).__name__}: {error}"
    return {"kind": kind, "error": text, "package": name or ""}

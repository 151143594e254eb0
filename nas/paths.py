"""Where the shipped and the user's own text files lie."""

import re
from pathlib import Path

from nas.errors import NasError, shown, unknown

PACKAGE = Path(__file__).parent
# A wheel carries the text folders inside the package; a checkout keeps them beside it.
SHIPPED = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parent


def folders(kind: str) -> list[Path]:
    """Return the folders searched for `kind` (`search_spaces`, ...): the user's before ours."""
    own = Path.cwd() / kind
    shipped = SHIPPED / kind
    return [own, shipped] if own != shipped else [shipped]


def names(kind: str, suffix: str) -> list[str]:
    """Return the names of all files of `kind` that end in `suffix`.

    A name holds no dot: `host_cpu.check.csv` is a file about the table host_cpu.
    """
    return sorted(
        {
            path.name[: -len(suffix)]
            for place in folders(kind)
            for path in place.glob(f"*{suffix}")
            if _is_file(path) and "." not in path.name[: -len(suffix)]
        }
    )


def find(kind: str, name: str | Path, suffix: str) -> Path:
    """Return the file that `name` means: a path as it is, a bare name looked up in the folders.

    Raises:
        NasError: no such file; the message lists the names that exist.
    """
    path = Path(name)
    if path.suffix == suffix or len(path.parts) > 1:
        if not _is_file(path):
            raise NasError(f"{path} must be a file, but there is none. Check the path.")
        return path
    for place in folders(kind):
        if _is_file(place / f"{name}{suffix}"):
            return place / f"{name}{suffix}"
    raise unknown(f"name in {kind}/", name, names(kind, suffix))


def stem_of(name: str) -> str:
    """Return a file name without ending for a name from a file, which may be any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:100] or "network"


def inside(folder: Path, name: str) -> Path:
    """Return the path in `folder` that a name which was read from a file means.

    Raises:
        NasError: it leads out of the folder.
    """
    try:
        path = folder / name
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a NUL
        is_inside = False
    if not is_inside:
        raise NasError(
            f"a file must be named by a path within {folder}, but one is named {shown(name)}. "
            "Put it there."
        )
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False

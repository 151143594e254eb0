"""Where the shipped and the user's own text files lie."""

from pathlib import Path

from nas.errors import NasError, unknown

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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False

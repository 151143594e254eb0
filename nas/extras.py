"""Packages that only some commands need: imported when asked for, with the line that adds them."""

import importlib
from typing import Any

from nas.errors import NasError


def require(package: str, extra: str) -> Any:
    """Import a package that the extra `nas-cpu[<extra>]` installs.

    Raises:
        NasError: it is missing or broken.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise NasError(
            f"this needs the package {package}, which cannot be imported ({error}). "
            f'Install it: pip install "nas-cpu[{extra}]"'
        ) from error

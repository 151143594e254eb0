"""The one error type that a user can cause; its text is the rule, the value and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class NasError(ValueError):
    """Report wrong input: a file, a name, an option or a device."""


def unknown(what: str, value: object, known: Iterable[object]) -> NasError:
    """Return the error for a `value` that is none of the `known` ones, nearest spelling first."""
    names = sorted(str(name) for name in known)
    close = get_close_matches(str(value), names, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]}?" if close else ""
    return NasError(f"unknown {what} {str(value)!r}.{hint} Known: {', '.join(names) or 'none'}.")

"""The one error type that a user can cause; its text is the rule, the value and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class NasError(ValueError):
    """Report wrong input: a file, a name, an option or a device."""


class NetworkError(NasError):
    """Report one network that cannot be judged, as its training diverged; others may well be."""


def shown(value: object) -> str:
    """Return what a message quotes of a value: its repr, cut after 80 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no integers of more than 4,300 digits.
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 80 else f"{text[:77]}..."


def unknown(what: str, value: object, known: Iterable[object]) -> NasError:
    """Return the error for a `value` that is none of the `known` ones, nearest spelling first."""
    names = sorted(str(name) for name in known)
    word = value if isinstance(value, str) else shown(value)
    close = get_close_matches(word[:80], names, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]}?" if close else ""
    return NasError(f"unknown {what} {shown(word)}.{hint} Known: {', '.join(names) or 'none'}.")

"""Options of a hardware file's `connection`, checked."""

from nas.errors import NasError, shown
from nas.text import integer, short_text


def count(value: object, name: str, most: int = 10**6) -> int:
    """Return a whole number of at least 1.

    Raises:
        NasError: it is none, or above `most`.
    """
    return integer(value, f"hardware.connection.{name}", most=most)


def word(value: object, name: str) -> str:
    """Return a text that can be a word of a command line.

    Raises:
        NasError: it is none, or would be taken for an option.
    """
    text = short_text(value, f"hardware.connection.{name}")
    if text.startswith("-") or not text.isprintable():
        raise NasError(
            f"hardware.connection.{name} must be printable and not begin with -, but is "
            f"{shown(text)}. Correct it in the hardware file."
        )
    return text


def word_or_none(value: object, name: str) -> str | None:
    """Return a word, or None for an option that was left out."""
    return None if value is None else word(value, name)

"""HTML that is escaped by construction: whatever is not `Html` is text."""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"meta"})


class Html(str):
    """Markup, as opposed to text; `element` escapes every other string."""

    __slots__ = ()


def join(parts: Iterable[str]) -> Html:
    """Return the parts one after the other, text escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def element(tag: str, /, *children: str, **attributes: object) -> Html:
    """Return an element; attributes that are None are left out.

    A trailing underscore of an attribute's name is dropped (`class_`), others become hyphens.
    """
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    opening = f"<{tag}{''.join(words)}>"
    return Html(opening) if tag in VOID else Html(f"{opening}{join(children)}</{tag}>")


def scrolled_table(head: Iterable[Html], rows: Iterable[Html]) -> Html:
    """Return a table of header cells and rows that scrolls where the screen is narrower."""
    table = element(
        "table",
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        class_="comparison",
    )
    return element("div", table, class_="scroll")

"""The frame of every page: nothing is loaded that is not in the file."""

from importlib.resources import files

from nas.report.markup import Html, element

# The browser itself refuses to load anything, whatever a name in the page says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, *content: Html) -> str:
    """Return the text of a page with style and script inside; the same input gives the same bytes.

    `content` is what the main part of the page holds.
    """
    body = element("body", element("main", *content), element("script", _shipped("page.js")))
    page = element("html", _head(title), body, lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _head(title: str) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _shipped("page.css")),
    )


def _shipped(name: str) -> Html:
    return Html((files("nas.report") / name).read_text(encoding="utf-8"))

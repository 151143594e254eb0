"""A page of a report as the tests read it."""

from html.parser import HTMLParser

from nas.report.markup import VOID

HOSTILE = """</title><script>alert("1")</script><img src='http://x.test' onerror=a&b>"""


class Page(HTMLParser):
    """Collects elements and texts, and fails on tags that do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def text_of(self, tag: str) -> list[str]:
        return [text for parent, text in self.texts if parent == tag]

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.tags if name in (attrs.get("class") or "").split()]

    def marks(self, kind: str) -> list[tuple[float, float]]:
        return [
            (float(str(attrs["data-x"])), float(str(attrs["data-y"])))
            for _, attrs in self.tags
            if attrs.get("class") == f"mark {kind}" and "data-x" in attrs
        ]

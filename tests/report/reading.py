"""A page as a strict reader sees it: its elements, its visible text, its scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "br", "img", "input", "link", "hr"}
OURS = {
    *("html", "head", "meta", "title", "style", "body", "header", "p", "span", "h1", "h2", "h3"),
    *("details", "summary", "ul", "li", "dl", "dt", "dd", "div", "nav", "a", "main", "noscript"),
    *("section", "figure", "figcaption", "article", "code", "table", "caption", "thead", "tbody"),
    *("tr", "th", "td", "button", "footer", "script"),
    *("math", "mrow", "mi", "mo", "mn", "mtext", "mspace", "mfrac", "msqrt", "msup", "msub"),
    *("msubsup", "mover"),
}
"""Elements that our template and equations are made of."""


@dataclass
class Reader(HTMLParser):
    """Collects elements with their attributes, and texts by the element they stand in."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open_tags[-1] if self.open_tags else "", data))

    @property
    def text(self) -> str:
        """All text that a person reads."""
        hidden = ("script", "style")
        return "\n".join(text for tag, text in self.texts if tag not in hidden)

    @property
    def foreign(self) -> set[str]:
        """Names of elements that are not ours, and of attributes that run code."""
        handlers = {name for _, each in self.elements for name in each if name.startswith("on")}
        return {tag for tag, _ in self.elements} - OURS | handlers

    @property
    def scripts(self) -> list[str]:
        return [text for tag, text in self.texts if tag == "script"]

    @property
    def figures(self) -> dict[str, Any]:
        """The data of the figures."""
        data: dict[str, Any] = json.loads(self.scripts[0])
        return data


def read(html: str) -> Reader:
    """Read a page; every element must be closed in order."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open_tags == []
    return reader

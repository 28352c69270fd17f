"""Reads the tables that notebooks are shown, as a browser would."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class ReadTable:
    """What is in a table: its headline, its rows, the widths of its bars in percent, and what it is made of."""

    headline: str = ""
    rows: dict[str, str] = field(default_factory=dict)
    bars: list[float] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.table = ReadTable()
        self.cells: list[list[str]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.table.tags.add(tag)
        self.table.attributes.update(name for name, _ in attrs)
        width = re.search(r"(?:^|;)width:([\d.]+)%", dict(attrs).get("style") or "")
        if width is not None:
            self.table.bars.append(float(width[1]))
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "tags must close in the order in which they opened"

    def handle_data(self, data: str) -> None:
        self.cells[-1][-1] += data

    def close(self) -> None:
        super().close()
        assert self._open == []


def read_table(html: str) -> ReadTable:
    """Return what a reader sees."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    (head,), *rows = reader.cells
    reader.table.headline = head.strip()
    reader.table.rows = {what: value.strip() for what, value in rows}
    return reader.table

"""MkDocs hook: files of the checkout that pages link to and that lie outside docs/ become part of the site.

Markdown files become pages under ``project/``, all others are copied there as they are, and links are rewritten. A link
to a file that does not exist is left alone, so that MkDocs reports it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Where files from outside docs/ lie in the site.
PREFIX = "project"

_LINK = re.compile(r"(?P<before>!?\[[^\]]*\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what the pages link to, what those link to in turn, and so on."""
    waiting = [file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        uri = waiting.pop()
        markdown = _path_of(uri).read_text(encoding="utf-8")
        for target in (match["target"] for match in _LINK.finditer(_FENCE.sub("", markdown))):
            linked = _site_uri(uri, target)
            if linked is None or linked in seen:
                continue
            seen.add(linked)
            if linked.startswith(f"{PREFIX}/"):
                files.append(File.generated(config, linked, abs_src_path=str(_path_of(linked))))
                if linked.endswith(".md"):
                    waiting.append(linked)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Turn links between docs/ and the rest of the checkout into links of the site."""
    uri = page.file.src_uri

    def rewritten(match: re.Match[str]) -> str:
        linked = _site_uri(uri, match["target"])
        if linked is None:
            return match[0]
        target = posixpath.relpath(linked, posixpath.dirname(uri) or ".")
        return f"{match['before']}{target}{match['anchor'] or ''}{match['after']}"

    kept, at = [], 0
    for fence in _FENCE.finditer(markdown):
        kept += [_LINK.sub(rewritten, markdown[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*kept, _LINK.sub(rewritten, markdown[at:])])


def _path_of(uri: str) -> Path:
    """Return the file of the checkout that a site's source name stands for."""
    inside = uri.removeprefix(f"{PREFIX}/")
    return ROOT / inside if inside != uri else ROOT / "docs" / uri


def _site_uri(page_uri: str, target: str) -> str | None:
    """Return the source name of what a page links to; None for an address and for what is not there."""
    if re.match(r"[a-z]+:", target) or target.startswith("/"):
        return None
    path = (_path_of(page_uri).parent / target).resolve()
    if not path.is_file() or not path.is_relative_to(ROOT):
        return None
    docs = ROOT / "docs"
    inside = path.relative_to(docs if path.is_relative_to(docs) else ROOT).as_posix()
    return inside if path.is_relative_to(docs) else f"{PREFIX}/{inside}"

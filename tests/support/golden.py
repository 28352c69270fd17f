"""Files that say what a format was when they were written, and the comparison of today's format with them.

``pytest tests/formats --rewrite-golden`` writes them anew, for a change that is meant; the difference is then reviewed
and committed with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "formats" / "golden"
_WIDTH = 120


class Golden:
    """The golden files, compared with or written anew.

    Parameters
    ----------
    rewrite
        Write each file instead of reading it.
    """

    def __init__(self, *, rewrite: bool) -> None:
        self._rewrite = rewrite

    def same_text(self, name: str, now: str) -> None:
        """Hold a text against a file, character by character."""
        path = self._written(name, lambda path: path.write_bytes(now.encode("utf-8")))
        assert now == path.read_bytes().decode("utf-8"), f"{name}: differs from today's"

    def same_json(self, name: str, now: object) -> None:
        """Hold a value against a JSON file: the same keys in the same order, the same values."""
        text = _as_text(now)
        path = self._written(name, lambda path: path.write_text(text, encoding="utf-8"))
        then = json.loads(path.read_text(encoding="utf-8"))
        assert json.loads(text) == then, f"{name}: differs from today's"
        assert text == path.read_text(encoding="utf-8"), f"{name}: only the order of its keys differs from today's"

    def at_least_json(self, name: str, now: object) -> None:
        """Hold a value against a JSON file: all that the file has is still there and the same, more may have come.

        Objects may have got keys and lists entries; entries that remain keep their order.
        """
        text = _as_text(now)
        path = self._written(name, lambda path: path.write_text(text, encoding="utf-8"))
        lost = losses(json.loads(path.read_text(encoding="utf-8")), json.loads(text))
        assert not lost, f"{name}:\n" + "\n".join(lost)

    def made_once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a file that an earlier version of the code made, to be read by today's."""
        return self._written(name, make)

    def _written(self, name: str, make: Callable[[Path], object]) -> Path:
        path = FOLDER / name
        if self._rewrite:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            make(path)
        assert path.is_file(), f"there is no {path.relative_to(FOLDER.parent)}: see tests/support/golden.py"
        return path


def losses(then: object, now: object, place: str = "") -> list[str]:
    """Say what of a value is gone or changed, one line each; empty where nothing is."""
    if isinstance(then, dict) and isinstance(now, dict):
        lost = [f"{place}/{key} is gone" for key in then if key not in now]
        return lost + [line for key in then if key in now for line in losses(then[key], now[key], f"{place}/{key}")]
    if isinstance(then, list) and isinstance(now, list):
        kept = [one for one in now if one in then]
        return [] if kept == then else [f"{place} was {json.dumps(then)} and is {json.dumps(now)}"]
    return [] if then == now else [f"{place} was {json.dumps(then)} and is {json.dumps(now)}"]


def _as_text(value: object) -> str:
    return _lines(value, 0) + "\n"


def _lines(value: object, depth: int) -> str:
    """JSON with what is short on one line, so that a difference is easy to read."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(line) + depth <= _WIDTH:
        return line
    inner = "\n" + " " * (depth + 1)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key, ensure_ascii=False)}: {_lines(one, depth + 1)}" for key, one in value.items())
        return "{" + inner + f",{inner}".join(pairs) + "\n" + " " * depth + "}"
    return "[" + inner + f",{inner}".join(_lines(one, depth + 1) for one in value) + "\n" + " " * depth + "]"

"""Text that can be stored, sent and shown: what records hold of words that came from outside."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def sound_text(text: str) -> str:
    """Return text that every encoding of Unicode takes: a question mark stands for each lone surrogate.

    They come from bytes that were no UTF-8 (Python's ``surrogateescape``, as in file names and typed sample names) or
    from half a character; neither JSON nor SQLite nor pvAccess carries them.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


SoundText = Annotated[str, AfterValidator(sound_text)]
"""A field of a record that may hold words out of documents, file names or errors."""

"""The error for atom probe files that can't be used."""

from __future__ import annotations


class AptFileError(ValueError):
    """The atom probe file is truncated, empty, in another format or implausible; the message says what to do."""

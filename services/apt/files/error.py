"""What is raised for an atom probe file that can't be used."""

from __future__ import annotations


class AptFileError(ValueError):
    """A file of atom probe data is cut short, empty, of another format or absurd; the message says what to do."""

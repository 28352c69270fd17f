"""The root of all errors that Braggwatch raises on purpose, and the few that every storey shares."""

from __future__ import annotations


class BraggwatchError(Exception):
    """Something that Braggwatch can't do, told for the person who asked for it.

    The command line shows the text of one in a single line. Any other exception that isn't the operating system's is
    a bug, and shown with its traceback. A subclass names a second base where callers may also catch a built-in one,
    e.g. ``class MibError(BraggwatchError, ValueError)``.
    """


class InputError(BraggwatchError, ValueError):
    """A value, an option or a file's content can't be used; the text says why."""


class UnknownNameError(BraggwatchError, LookupError):
    """Nothing goes by that name; the text says where it was looked for."""


class MissingPackageError(BraggwatchError, ImportError):
    """An optional package isn't installed; the text says how to install it."""

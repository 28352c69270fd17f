"""Stands for the classes that a pickle names and that nobody here imports: inert, but what they hold can be read.

Archives give documents as instances of a dictionary of their own kind, ophyd-async puts tables into configurations, and
many beamlines enumerations. What such an object holds is in the pickle, as plain values; its class isn't needed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, cast

from braggwatch.services.stream.rejection import RejectedMessage, RejectReason, clip


class ForeignClass(type):
    """The type of all of them: calling one, as a pickle calls functions, is refused, unless it is an enumeration.

    Attributes
    ----------
    enumeration
        May be called with the value of one of its members, which is what it then gives.
    """

    enumeration: bool

    def __call__(cls, *arguments: object) -> object:
        """Give the value of an enumeration's member; refuse anything else."""
        if not cls.enumeration:
            raise RejectedMessage(RejectReason.FORBIDDEN_CODE, f"name {cls.__module__}.{cls.__name__}")
        if len(arguments) != 1 or not isinstance(arguments[0], (str, int)):
            raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, "object that is not an enumeration's member")
        return arguments[0]


class ForeignObject(dict[object, object], metaclass=ForeignClass):
    """What an object holds: the items of a dictionary, or else its attributes."""

    enumeration = False
    __slots__ = ()

    def __new__(cls, *arguments: object) -> ForeignObject:
        """Make one without running anything of its class; arguments would need the class to be understood."""
        if arguments:
            raise RejectedMessage(RejectReason.FORBIDDEN_CODE, f"name {cls.__module__}.{cls.__name__}")
        return cast("ForeignObject", dict.__new__(cls))

    def __setstate__(self, state: object) -> None:
        """Take an object's attributes; a dictionary has its items, and what else it remembers is left."""
        if self or not isinstance(state, Mapping):
            return
        held = cast("Mapping[object, object]", state)
        own = held.get("__dict__", held)
        if isinstance(own, Mapping):
            dict.update(self, cast("Mapping[object, object]", own))

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: it is what was read, not the object."""
        raise TypeError("an object of a class that isn't known can't be pickled")


def foreign_class(module: str, name: str, *, enumeration: bool) -> ForeignClass:
    """Return what stands for a class.

    Raises
    ------
    RejectedMessage
        If that is no name of a class.
    """
    parts = [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise RejectedMessage(RejectReason.FORBIDDEN_CODE, f"name {clip(module)}.{clip(name)}")
    body = {"__module__": clip(module), "__slots__": (), "enumeration": enumeration}
    return cast("ForeignClass", type.__call__(ForeignClass, clip(name), (ForeignObject,), body))

"""Reads pickled documents without running anything: no name in a pickle is ever imported or looked up.

Each name on the allow-list is mapped to a small function of this module; every other name stands for a class that can't
be called and runs nothing: of its objects, what they hold is read (`foreign_classes`). Arrays arrive as shells that
collect their state and become numpy arrays only after shape, dtype and size were checked, because numpy's own
``__setstate__`` methods trust their input. Call forms: numpy 1 and 2, ``ndarray.__reduce__`` and
``__reduce_ex__(5)`` (numpy/core/src/multiarray/methods.c).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from braggwatch.services.stream.foreign_classes import ForeignClass, foreign_class
from braggwatch.services.stream.pickle_scan import scan
from braggwatch.services.stream.rejection import DecoderLimits, RejectedMessage, RejectReason, clip
from braggwatch.services.stream.wire_arrays import WireScalar, build_array, build_scalar, plain_dtype

DEFAULT_ENUM_MODULES: Final = ("ophyd_async", "ophyd", "bluesky", "dodal", "apstools", "nslsii")


class _Callable:
    """Stands for an allowed name; has no attributes that a pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise RejectedMessage(RejectReason.FORBIDDEN_CODE, "state given to a function")


class _ArrayType:
    """Stands for the name ``numpy.ndarray``, which is only ever an argument."""

    __slots__ = ()

    def __setstate__(self, state: object) -> NoReturn:
        raise RejectedMessage(RejectReason.FORBIDDEN_CODE, "state given to a type")


class _DtypeShell:
    """A dtype that is being described: type string first, byte order by state."""

    __slots__ = ("_byte_order", "_text")

    def __init__(self, text: object) -> None:
        plain_dtype(text)
        self._text = str(text).lstrip("<>|=")
        self._byte_order = "="

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subdtype, names, fields, itemsize, alignment, flags): numpy's arraydescr_reduce.
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, "structured dtype or dtype with metadata")
        if state[1] not in ("<", ">", "|", "="):
            raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, "byte order")
        self._byte_order = str(state[1])

    def dtype(self) -> np.dtype[np.generic]:
        return plain_dtype(self._byte_order + self._text)


class _ArrayShell:
    """An array whose state has not come yet."""

    __slots__ = ("_array", "_limits")

    def __init__(self, limits: DecoderLimits) -> None:
        self._limits = limits
        self._array: NDArray[np.generic] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RejectedMessage(RejectReason.MALFORMED, "array state")
        _, shape, dtype, is_fortran, data = state
        if isinstance(data, list):
            raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, "array of objects")
        self._array = build_array(data, _dtype_of(dtype), shape, fortran=bool(is_fortran), limits=self._limits)

    @property
    def array(self) -> NDArray[np.generic]:
        if self._array is None:
            raise RejectedMessage(RejectReason.MALFORMED, "array without state")
        return self._array


def _dtype_of(shell: object) -> np.dtype[np.generic]:
    if not isinstance(shell, _DtypeShell):
        raise RejectedMessage(RejectReason.FORBIDDEN_DTYPE, "dtype of unknown form")
    return shell.dtype()


def _make_dtype(text: object, *_align_and_copy: object) -> _DtypeShell:
    return _DtypeShell(text)


def _make_scalar(dtype: object, data: object = None) -> WireScalar:
    return build_scalar(data, _dtype_of(dtype))


def _make_dict(*arguments: object) -> dict[object, object]:
    if arguments:
        raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, "ordered dictionary with arguments")
    return {}


def _encode_latin1(text: object, encoding: object) -> bytes:
    # How protocols 0 to 2 carry bytes.
    if not isinstance(text, str) or encoding != "latin1":
        raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, "encoded text")
    return text.encode("latin1")


def _make_bytes(data: object = b"", *rest: object) -> bytes:
    if rest or not isinstance(data, (bytes, bytearray)):
        raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, "bytes from something else")
    return bytes(data)


def _make_complex(real: object, imaginary: object) -> complex:
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, "complex number")
    return complex(real, imaginary)


_MOST_CLASSES: Final = 64
_ARRAY_TYPE: Final = _ArrayType()
_COMMON_NAMES: Final[Mapping[tuple[str, str], object]] = {
    ("numpy", "ndarray"): _ARRAY_TYPE,
    ("numpy", "dtype"): _Callable(_make_dtype),
    ("numpy.core.multiarray", "scalar"): _Callable(_make_scalar),
    ("numpy._core.multiarray", "scalar"): _Callable(_make_scalar),
    ("collections", "OrderedDict"): _Callable(_make_dict),
    ("builtins", "dict"): _Callable(_make_dict),
    ("_codecs", "encode"): _Callable(_encode_latin1),
    ("builtins", "bytearray"): _Callable(_make_bytes),
    ("builtins", "bytes"): _Callable(_make_bytes),
    ("builtins", "complex"): _Callable(_make_complex),
    # Protocol 2 writes Python 2's names.
    ("__builtin__", "bytearray"): _Callable(_make_bytes),
    ("__builtin__", "bytes"): _Callable(_make_bytes),
    ("__builtin__", "complex"): _Callable(_make_complex),
}


class _RestrictedUnpickler(pickle.Unpickler):  # noqa: S301 (this is the safe one)
    def __init__(self, data: bytes, limits: DecoderLimits, enum_modules: tuple[str, ...]) -> None:
        super().__init__(io.BytesIO(data))
        self._limits = limits
        self._enum_modules = enum_modules
        self._foreign: list[ForeignClass] = []
        self._names: dict[tuple[str, str], object] = {
            **_COMMON_NAMES,
            ("numpy.core.multiarray", "_reconstruct"): _Callable(self._start_array),
            ("numpy._core.multiarray", "_reconstruct"): _Callable(self._start_array),
            ("numpy.core.numeric", "_frombuffer"): _Callable(self._array_from_buffer),
            ("numpy._core.numeric", "_frombuffer"): _Callable(self._array_from_buffer),
        }

    def find_class(self, module_name: str, global_name: str) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        allowed = self._names.get((module_name, global_name))
        if allowed is not None:
            return allowed
        if len(self._foreign) >= _MOST_CLASSES:
            raise RejectedMessage(RejectReason.FORBIDDEN_CODE, f"name {clip(module_name)}.{clip(global_name)}")
        package = module_name.partition(".")[0]
        found = foreign_class(module_name, global_name, enumeration=package in self._enum_modules)
        self._foreign.append(found)
        return found

    def persistent_load(self, pid: object) -> NoReturn:
        raise RejectedMessage(RejectReason.FORBIDDEN_CODE, f"persistent reference of type {type(pid).__name__}")

    def _start_array(self, subtype: object, _shape: object, _typecode: object) -> _ArrayShell:
        if subtype is not _ARRAY_TYPE:
            raise RejectedMessage(RejectReason.FORBIDDEN_TYPE, "subclass of ndarray")
        return _ArrayShell(self._limits)

    def _array_from_buffer(self, data: object, dtype: object, shape: object, order: object) -> NDArray[np.generic]:
        return build_array(data, _dtype_of(dtype), shape, fortran=order == "F", limits=self._limits)


def unpickle(data: bytes, limits: DecoderLimits, enum_modules: tuple[str, ...] = DEFAULT_ENUM_MODULES) -> object:
    """Rebuild what a pickle describes out of plain values and numpy arrays.

    Parameters
    ----------
    data
        A pickle of protocol 2 to 5.
    enum_modules
        Top-level packages whose pickled enumeration members are taken as their bare values.

    Returns
    -------
    object
        Dictionaries, lists, tuples, sets, numbers, text, bytes, read-only arrays, and array shells: see
        `normalise`, which must follow.

    Raises
    ------
    RejectedMessage
        For everything else; nothing named in the pickle is run.
    """
    scan(data, limits)
    try:
        return _RestrictedUnpickler(data, limits, enum_modules).load()
    except RejectedMessage:
        raise
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise RejectedMessage(RejectReason.MALFORMED, f"pickle: {type(error).__name__}") from error


def array_of_shell(value: object) -> NDArray[np.generic] | None:
    """Give the finished array of a shell that `unpickle` left, or None for any other value."""
    return value.array if isinstance(value, _ArrayShell) else None

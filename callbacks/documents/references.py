"""Follows what documents say of frames in files to the rows that hold them, in the spellings that are about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PureWindowsPath

from braggwatch.callbacks.documents.document_checks import RejectedDocument, finite, integer, mapping, text
from braggwatch.callbacks.documents.frame_routes_hdf5 import DEFAULT_DATASET, Hdf5Rows, PathMap, UnusableReference

ONE_FILE_A_FRAME = "AD_HDF5_SINGLE"
"""Spec of areaDetector's HDF5 plugin in the mode ``Single``."""

_DATASET_KEYS = ("dataset", "path", "key")
# areaDetector's own templates: folder, file name, number. A wider field could fill the memory.
_TEMPLATE = re.compile(r"(?:[^%]|%s|%0?\d?(?:\.\d)?d|%%)*")


@dataclass(frozen=True, slots=True)
class Streamed:
    """One event's place in a StreamResource."""

    resource: str
    index: int


def datum_rows(
    datum_kwargs: Mapping[str, object], resource: Mapping[str, object], stated_exposures: int, paths: PathMap
) -> tuple[Hdf5Rows, ...]:
    """Return the rows of a Datum, in one file or in several whose counts are to be summed.

    Parameters
    ----------
    stated_exposures
        Exposures of an event by the descriptor, for a resource that doesn't state its ``frame_per_point``.

    Raises
    ------
    UnusableReference
        If they will never be readable.
    """
    spec = str(resource.get("spec"))
    if not spec.startswith("AD_HDF5"):
        raise UnusableReference(f"resources of spec {spec!r} can't be read")
    try:
        kwargs = mapping({"resource_kwargs": resource.get("resource_kwargs", {})}, "resource_kwargs")
        exposures = _exposures(kwargs.get("frame_per_point"), "frame_per_point") or stated_exposures
        index = integer(datum_kwargs, "point_number", at_least=0)
    except RejectedDocument as error:
        raise UnusableReference(str(error)) from error
    windows = resource.get("path_semantics") == "windows"
    root, path = str(resource.get("root") or ""), str(resource.get("resource_path") or "")
    dataset = _dataset(kwargs) or DEFAULT_DATASET
    if spec.startswith(ONE_FILE_A_FRAME):
        names = [_file_name(kwargs, number) for number in range(index * exposures, (index + 1) * exposures)]
        files = [paths.local(_joined(_joined(root, path, windows), name, windows), windows=windows) for name in names]
        return tuple(Hdf5Rows(file, dataset, 0, 1, swmr=False) for file in files)
    file = paths.local(_joined(root, path, windows), windows=windows)
    return (Hdf5Rows(file, dataset, index, exposures, swmr="SWMR" in spec),)


def streamed_rows(resource: Mapping[str, object], index: int, stated_exposures: int, paths: PathMap) -> Hdf5Rows:
    """Return the rows of one index of a StreamResource.

    Raises
    ------
    UnusableReference
        If they will never be readable, or resource and descriptor contradict each other.
    """
    if resource.get("mimetype") != "application/x-hdf5":
        raise UnusableReference(f"stream resources of type {resource.get('mimetype')!r} can't be read")
    try:
        parameters = mapping(resource, "parameters")
        exposures = _exposures(parameters.get("multiplier"), "multiplier") or stated_exposures
    except RejectedDocument as error:
        raise UnusableReference(str(error)) from error
    if stated_exposures not in (1, exposures):
        raise UnusableReference(
            f"the descriptor states {stated_exposures} exposures for each event, the stream resource {exposures}"
        )
    dataset = _dataset(parameters)
    if dataset is None:
        raise UnusableReference("the stream resource does not name its dataset")
    return Hdf5Rows(paths.from_uri(str(resource["uri"])), dataset, index, exposures, swmr=True)


def _dataset(parameters: Mapping[str, object]) -> str | None:
    return next((name for key in _DATASET_KEYS if (name := text(parameters.get(key))) is not None), None)


def _exposures(value: object, key: str) -> int | None:
    """Return a number of exposures, whole though perhaps written as a float; None and 0 state nothing."""
    if value is None:
        return None
    number = finite(value)
    if number is None or number < 0 or number != int(number):
        raise RejectedDocument("schema", f"{key} is not a whole number: {value!r:.80}")
    return int(number) or None


def _file_name(kwargs: Mapping[str, object], number: int) -> str:
    """Return the name of one frame's file, which areaDetector makes of template, folder, name and number."""
    template, name = text(kwargs.get("template")), text(kwargs.get("filename"))
    if template is None or name is None or _TEMPLATE.fullmatch(template) is None:
        raise UnusableReference(f"no file name can be made of the template {template!r:.80} and the name {name!r:.80}")
    try:
        return template % ("", name, number)
    except (TypeError, ValueError) as error:
        raise UnusableReference(f"no file name can be made of the template {template!r:.80}: {error}") from error


def _joined(root: str, path: str, windows: bool) -> str:
    if windows:
        return str(PureWindowsPath(root, path.lstrip("\\/"))) if root else path
    return root.rstrip("/") + "/" + path.lstrip("/")

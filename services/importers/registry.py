"""The importers that there are: a new one is a file that ends in its ``IMPORTER``, and a line here.

The module is imported when its command is called or its help is asked for: what an importer needs slows nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from braggwatch.services.importers.importer import Importer

IMPORTERS: Final[Mapping[str, str]] = {
    "34idc": "braggwatch.services.importers.spec34idc",
    "bliss": "braggwatch.services.importers.bliss",
}


def importer_named(name: str) -> Importer:
    """Return an importer by its name in ``IMPORTERS``.

    Raises
    ------
    KeyError
        Where there is none.
    TypeError
        Where the module's ``IMPORTER`` isn't one of that name.
    """
    from braggwatch.services.importers.importer import Importer

    module = IMPORTERS[name]
    importer = import_module(module).IMPORTER
    if not isinstance(importer, Importer) or importer.name != name:
        raise TypeError(f"{module}.IMPORTER is not the importer '{name}'")
    return importer

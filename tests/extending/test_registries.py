"""What can be added by one line is listed once, and what is listed is there under that name."""

from __future__ import annotations

from typing import get_args

import pytest

from braggwatch.models.runtimes.factory import CANDIDATES, RuntimePreference
from braggwatch.services.importers.registry import IMPORTERS, importer_named


def test_every_runtime_can_be_asked_for_by_name() -> None:
    assert sorted(get_args(RuntimePreference)) == sorted(["auto", *(one.name for one in CANDIDATES)])


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_importer_is_where_the_registry_says(name: str) -> None:
    assert importer_named(name).name == name

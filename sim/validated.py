"""What a person wrote, checked against its model: pydantic's report becomes one clear error that names the source."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from braggwatch.sim.errors import InputError

_Model = TypeVar("_Model", bound=BaseModel)


@contextmanager
def validated(source: str) -> Generator[None]:
    """Tell pydantic's report on a model made in the block as an error in ``source``, e.g. ``'options'``.

    Raises
    ------
    InputError
        With each wrong field and what is wrong with it, on one line.
    """
    try:
        yield
    except ValidationError as error:
        raise InputError(f"{source}: {wrong_fields(error)}") from error


def read_json_model(path: Path, model: type[_Model]) -> _Model:
    """Read a JSON file that a person wrote.

    Raises
    ------
    OSError
        If it can't be read.
    InputError
        If it is no JSON text or not of this model; the text names the file and each wrong field.
    """
    data = path.read_bytes()
    with validated(str(path)):
        return model.model_validate_json(data)


def wrong_fields(error: ValidationError) -> str:
    """Put pydantic's report on one line: ``field.inner: what is wrong; other: what is wrong``."""
    told = (
        (".".join(map(str, one["loc"])), one["msg"].removeprefix("Value error, "))  # our own words
        for one in error.errors()
    )
    return "; ".join(": ".join(filter(None, pair)) for pair in told)

"""One training at a time in a folder: two would overwrite each other's checkpoint and mix their logs."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from braggwatch.sim.errors import InputError

LOCK_FILE = ".training.lock"


@contextmanager
def only_training_in(folder: Path) -> Generator[None]:
    """Hold a folder; the lock ends with its process, however that ends.

    Raises
    ------
    InputError
        If another training holds it, or the file system knows no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another training is running in {folder}: wait for it, or give another folder with --work"
            ) from None
        except OSError as error:
            raise InputError(
                f"{folder} can't be locked against a second training ({error.strerror}): give a folder of another file "
                "system with --work"
            ) from error
        yield

"""How a run is named in a URL."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

RunUid = Annotated[
    str,
    Path(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$", description="uid of the raw run's start document"),
]

"""The pages' files, which are served as they are."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

STATIC = Path(__file__).resolve().parent / "static"


def add_page(app: FastAPI, path: str, file_name: str) -> None:
    """Add ``GET path``: one HTML file of `STATIC`, asked for anew each time."""

    @app.get(path, include_in_schema=False)
    def page() -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        return FileResponse(STATIC / file_name, headers={"Cache-Control": "no-cache"})

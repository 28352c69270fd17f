"""Serves the HTML files of the pages."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

STATIC = Path(__file__).resolve().parent / "static"


def add_page(app: FastAPI, path: str, file_name: str) -> None:
    """Add ``GET path``, which serves one HTML file of `STATIC` and tells clients to revalidate it each time."""

    @app.get(path, include_in_schema=False)
    def page() -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        return FileResponse(STATIC / file_name, headers={"Cache-Control": "no-cache"})

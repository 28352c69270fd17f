"""The HTTP server: REST, live events, binary slices, metrics, health and the web pages.

`braggwatch.services.serving` imports it; each modality's live package adds its own routes.
"""

from __future__ import annotations

from braggwatch.services.page.app import create_app

__all__ = ["create_app"]

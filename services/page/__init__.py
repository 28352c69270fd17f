"""The HTTP face: REST, live events, binary slices, metrics, health and the page itself.

Serving imports it; a system's live part adds its own routes.
"""

from __future__ import annotations

from braggwatch.services.page.app import create_app

__all__ = ["create_app"]

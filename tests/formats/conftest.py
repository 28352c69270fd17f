"""The formats that users, files and other programs rely on: each is held against a file in ``golden/``."""

from __future__ import annotations

import pytest

from support.golden import Golden


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """The golden files; ``--rewrite-golden`` writes them anew."""
    return Golden(rewrite=bool(request.config.getoption("--rewrite-golden")))

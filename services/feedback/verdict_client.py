"""Asking the service for a verdict over HTTP, from a plan, a device or a script. Standard library only."""

from __future__ import annotations

import asyncio
import http.client
import logging
import time
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from pydantic import ValidationError

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.sim.errors import InputError

logger = logging.getLogger(__name__)

_NOT_YET = frozenset({202, 204, 404, 408, 425, 429, 500, 502, 503, 504})
_LONG_POLL_S = 5.0
_QUESTION_S = 0.4
_PAUSE_S = 0.2
_MAX_BYTES = 1_000_000


class HttpVerdictSource:
    """Long-polls ``GET /runs/{uid}/result?wait=`` until there is a record or the time is over.

    A service that is down, or comes up meanwhile, is asked again; only a refusal (401, 403) ends the wait early.

    Parameters
    ----------
    base_url
        E.g. ``"http://127.0.0.1:8000"``.
    token
        Bearer token, where the service asks for one; a blank one is none.

    Raises
    ------
    ValueError
        If ``base_url`` is not an http or https address.
    """

    def __init__(self, base_url: str, token: str | None = None) -> None:
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise InputError(f"the service's address must begin with http:// or https://, not {base_url!r}")
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if token is not None and token.strip():
            self._headers["Authorization"] = f"Bearer {token}"

    async def wait(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Wait in a worker thread; the event loop goes on."""
        return await asyncio.to_thread(self.wait_blocking, run_uid, timeout_s)

    def wait_blocking(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Return the run's final record, None where there is none within ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                result = self._ask(run_uid, remaining)
            except PermissionError as error:
                logger.warning("the verdict on run %s is refused: %s", run_uid, error)
                return None
            except (OSError, http.client.HTTPException, ValidationError) as error:
                logger.debug("no verdict on run %s yet: %s", run_uid, error)
                result = None
            if result is not None:
                return result
            time.sleep(max(0.0, min(_PAUSE_S, deadline - time.monotonic())))
        return None

    async def so_far(self, run_uid: str) -> ProvisionalVerdict | None:
        """Return what is said of a run that goes on, None where nothing is, or the service is silent or refuses."""
        try:
            body = await asyncio.to_thread(self._read, run_uid, "provisional", _QUESTION_S)
            return None if body is None else ProvisionalVerdict.model_validate_json(body)
        except (OSError, http.client.HTTPException, ValidationError) as error:
            logger.debug("nothing is heard of run %s: %s", run_uid, error)
            return None

    def _ask(self, run_uid: str, remaining_s: float) -> ScreeningResult | None:
        query = urlencode({"wait": f"{min(remaining_s, _LONG_POLL_S):.3f}"})
        body = self._read(run_uid, f"result?{query}", remaining_s + 0.1)
        return None if body is None else ScreeningResult.model_validate_json(body)

    def _read(self, run_uid: str, what: str, timeout_s: float) -> bytes | None:
        url = f"{self._base_url}/runs/{quote(run_uid, safe='')}/{what}"
        request = Request(url, headers=self._headers)  # noqa: S310 the scheme is checked when made
        try:
            with urlopen(request, timeout=timeout_s) as response:  # noqa: S310
                return response.read(_MAX_BYTES) if response.status == 200 else None
        except HTTPError as error:
            with error:
                if error.code in (401, 403):
                    raise PermissionError(f"HTTP {error.code}") from error
                if error.code not in _NOT_YET:
                    logger.warning("asking for run %s: HTTP %d", run_uid, error.code)
                return None
        except URLError as error:
            raise OSError(str(error.reason)) from error

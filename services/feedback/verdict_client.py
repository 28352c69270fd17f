"""HTTP client that asks the service for a verdict, for plans, devices and scripts; needs only the standard library."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import time
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from pydantic import ValidationError

from braggwatch.callbacks.cxdp.records import ProvisionalVerdict, ScreeningResult
from braggwatch.callbacks.documents.unrecorded import UnrecordedRun
from braggwatch.sim.errors import BraggwatchError, InputError

logger = logging.getLogger(__name__)

_NOT_YET = frozenset({202, 204, 404, 408, 425, 429, 500, 502, 503, 504})
_LONG_POLL_S = 5.0
_QUESTION_S = 0.4
_PAUSE_S = 0.2
_MAX_BYTES = 1_000_000
_GONE = 410


class HttpVerdictSource:
    """Long-polls ``GET /runs/{uid}/result?wait=`` until there is a record or the time is up.

    If the service is down, the request is retried; only a refusal (401, 403), or word that the run gets no record, ends
    the wait early. `unrecorded` then says why.

    Parameters
    ----------
    base_url
        E.g. ``"http://127.0.0.1:8000"``.
    token
        Bearer token, if the service requires one; a blank one counts as none.

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
        """Wait in a worker thread, without blocking the event loop."""
        return await asyncio.to_thread(self.wait_blocking, run_uid, timeout_s)

    def wait_blocking(self, run_uid: str, timeout_s: float) -> ScreeningResult | None:
        """Return the run's final record, None where there is none within ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                result = self._ask(run_uid, remaining)
            except PermissionError as error:
                logger.warning("the service refused access to the verdict on run %s: %s", run_uid, error)
                return None
            except _NoRecordError as error:
                logger.warning("%s", error.run.in_words)
                return None
            except (OSError, http.client.HTTPException, ValidationError) as error:
                logger.debug("no verdict on run %s yet: %s", run_uid, error)
                result = None
            if result is not None:
                return result
            time.sleep(max(0.0, min(_PAUSE_S, deadline - time.monotonic())))
        return None

    async def so_far(self, run_uid: str) -> ProvisionalVerdict | None:
        """Return the newest provisional verdict on a run, None if there is none or the service can't be asked."""
        try:
            body = await asyncio.to_thread(self._read, run_uid, "provisional", _QUESTION_S)
            return None if body is None else ProvisionalVerdict.model_validate_json(body)
        except (OSError, http.client.HTTPException, ValidationError) as error:
            logger.debug("no provisional verdict on run %s: %s", run_uid, error)
            return None

    async def unrecorded(self, run_uid: str) -> UnrecordedRun | None:
        """Return why a run gets no record; None if it has one, goes on, or the service can't be asked."""
        try:
            await asyncio.to_thread(self._read, run_uid, "result", _QUESTION_S)
        except _NoRecordError as error:
            return error.run
        except (OSError, http.client.HTTPException, ValidationError) as error:
            logger.debug("nothing is known of run %s: %s", run_uid, error)
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
                if error.code == _GONE:
                    raise _NoRecordError(_told_in(error.read(_MAX_BYTES))) from error
                if error.code not in _NOT_YET:
                    logger.warning("request for run %s failed: HTTP %d", run_uid, error.code)
                return None
        except URLError as error:
            raise OSError(str(error.reason)) from error


class _NoRecordError(BraggwatchError):
    """The service says that a run gets no record."""

    def __init__(self, run: UnrecordedRun) -> None:
        super().__init__(run.in_words)
        self.run = run


def _told_in(body: bytes) -> UnrecordedRun:
    try:
        return UnrecordedRun.model_validate(json.loads(body)["unrecorded"])
    except (ValueError, KeyError, TypeError) as error:
        raise OSError("the service's answer can't be read") from error

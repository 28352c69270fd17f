"""REST for explanations: which part of its pattern a run's answer depends on."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import CancelledError, Future

from fastapi import APIRouter, HTTPException

from braggwatch.models.cxdp.explain.occlusion import ExplanationStopped, Fill
from braggwatch.models.explain.explanation import ExplanationError
from braggwatch.models.runtimes.base import InferenceError, RuntimeUnavailableError
from braggwatch.services.cxdp.live.explainer import BusyError, Explainer, ExplanationRecord
from braggwatch.services.cxdp.live.result_source import ResultSource, result_or_404
from braggwatch.services.page.run_uid import RunUid

logger = logging.getLogger(__name__)

_AGAIN = {"Retry-After": "5"}


def explanation_router(store: ResultSource, explainer: Explainer | None) -> APIRouter:
    """Build ``/runs/{run_uid}/explanation``; without an explainer it says that there is none."""
    router = APIRouter()

    def ask(run_uid: str, fill: Fill) -> Future[ExplanationRecord]:
        result = result_or_404(store, run_uid)
        if not result.verdict.probabilities:
            raise HTTPException(404, f"no network answered for run {run_uid}: there is nothing to explain")
        if explainer is None:
            raise HTTPException(404, "this page has no model to explain with")
        counts = store.model_input(run_uid)
        if counts is None:
            raise HTTPException(404, f"no model input kept for run {run_uid}: its explanation can't be computed")
        try:
            return explainer.submit(result, counts, fill)
        except BusyError as error:
            raise HTTPException(503, str(error), _AGAIN) from error

    @router.get("/runs/{run_uid}/explanation")
    async def explanation(  # pyright: ignore[reportUnusedFunction]
        run_uid: RunUid, fill: Fill = "zero"
    ) -> ExplanationRecord:
        """Compute, or remember, which part of the stored model input the run's most probable class depends on.

        Each of 8³ blocks and of 3 x 16 slabs is hidden in turn: some seconds the first time. One is computed at a
        time, below the verdicts in priority; 503 with ``Retry-After`` where too many wait. 404, with the reason, where
        no model input was kept or no network answered.
        """
        pending = await asyncio.to_thread(ask, run_uid, fill)
        try:
            # Shielded: a browser that leaves must not cancel what another waits for.
            return await asyncio.shield(asyncio.wrap_future(pending))
        except ExplanationError as error:
            raise HTTPException(422, str(error)) from error
        except (InferenceError, RuntimeUnavailableError) as error:
            logger.exception("run %s could not be explained", run_uid)
            raise HTTPException(500, str(error)) from error
        except (ExplanationStopped, CancelledError) as error:
            raise HTTPException(503, "the service stops", _AGAIN) from error

    return router

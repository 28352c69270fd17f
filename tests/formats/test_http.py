"""The HTTP interface: routes, what they take and answer, the files to take away, and the events."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from braggwatch.services.cxdp.live.provisional_board import ProvisionalBoard
from braggwatch.services.cxdp.live.routes import add_curve_routes
from braggwatch.services.live.health import Health
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.metrics.prometheus import Metrics
from braggwatch.services.page import create_app
from braggwatch.services.sadp.live.page_routes import add_pattern_routes
from braggwatch.services.sadp.live.pattern_desk import PatternDesk
from braggwatch.services.sadp.live.pattern_store import PatternStore
from braggwatch.services.settings import PageSettings
from braggwatch.services.storage.result_store import ResultStore
from support.format_samples import MODEL, bare_result, full_result, particle, provisional
from support.golden import Golden
from support.schemas import fields
from support.stored_samples import restored

RUN = full_result().run_uid
PATTERNS = particle().run_uid
GRAIN = f"/sadp/runs/{PATTERNS}/particles/grain%207/a"
JSON_ROUTES = (
    "/runs",
    "/runs?label=perfect&limit=1",
    f"/runs?after={bare_result().run_uid}",
    f"/runs/{RUN}",
    f"/runs/{RUN}/result",
    f"/runs/{RUN}/rocking",
    f"/runs/{RUN}/provisional",
    f"/runs/{RUN}/explanation",
    "/runs/unknown",
    "/runs/unknown/result",
    "/runs/unknown/result?wait=0.01",
    "/runs?limit=0",
    "/provisional",
    f"/runs/{provisional().run_uid}/provisional",
    "/livez",
    "/readyz",
    "/status",
    "/sadp/particles",
    f"/sadp/runs/{PATTERNS}",
    f"{GRAIN}/patterns",
    f"{GRAIN}/history",
    "/sadp/runs/unknown",
)
BINARY_ROUTES = (
    f"/runs/{RUN}/slices",
    f"/runs/{RUN}/slices?axis=0&dtype=uint8",
    f"/runs/{RUN}/model-input.npz",
    f"{GRAIN}/picture",
    "/runs.csv",
    "/metrics",
    "/",
    "/sadp",
)
HEADERS = ("content-type", "content-disposition", "retry-after", "cache-control")


class Page:
    """The application on a store of an earlier version."""

    def __init__(self, path: Path) -> None:
        self.store = ResultStore(path)
        self.broker = ResultBroker(epoch=7)
        self.particles = ResultBroker(epoch=7)
        metrics, health = Metrics(), Health()
        for condition in ("stream", "store"):
            health.ok(condition)
        health.degraded("model", "the CPU stands in")
        metrics.backend(MODEL)
        board = ProvisionalBoard(self.broker)
        board.put(provisional())
        desk = PatternDesk(PatternStore.of(self.store), self.particles)
        parts = (
            lambda app: add_curve_routes(app, self.store, self.broker, board, None, ("perfect", "screw", "edge")),
            lambda app: add_pattern_routes(app, desk),
        )
        self.app: FastAPI = create_app(
            parts, metrics, health, PageSettings(), epoch=7, watchers=lambda: self.broker.clients
        )

    @contextmanager
    def client(self) -> Generator[httpx.Client]:
        """A client of a real server on a free port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(self.app, log_level="warning", ws="none", lifespan="off")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
            thread.start()
            while not server.started:
                time.sleep(0.01)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=30) as client:
                yield client
            server.should_exit = True
            thread.join(timeout=30)


@pytest.fixture
def page(golden: Golden, tmp_path: Path) -> Iterator[Page]:
    made = Page(restored(golden, tmp_path))
    yield made
    made.store.close()


@pytest.fixture
def client(page: Page) -> Iterator[httpx.Client]:
    with page.client() as opened:
        yield opened


def test_the_routes_are_the_same(golden: Golden, page: Page) -> None:
    # Which of the routes of a router the application lists as its own depends on the version of FastAPI.
    described = page.app.openapi()["paths"]
    table = {path: {method.upper() for method in operations} for path, operations in described.items()}
    for route in page.app.routes:
        if (path := getattr(route, "path", None)) is not None:
            table.setdefault(path, set()).update(getattr(route, "methods", None) or {"mounted"})
    golden.same_json("http/routes.json", {path: sorted(table[path]) for path in sorted(table)})


def test_what_the_routes_take_and_answer_is_the_same(golden: Golden, page: Page) -> None:
    schema = page.app.openapi()
    named = {f"#/components/schemas/{name}": one for name, one in schema["components"]["schemas"].items()}
    golden.same_json(
        "http/openapi.json",
        {
            f"{method.upper()} {path}": {
                "parameters": [
                    {key: parameter.get(key) for key in ("name", "in", "required")}
                    | {"schema": fields(parameter["schema"], named)}
                    for parameter in operation.get("parameters", [])
                ],
                "responses": {
                    status: {
                        kind: fields(body.get("schema", {}), named) for kind, body in answer.get("content", {}).items()
                    }
                    for status, answer in operation["responses"].items()
                    if status != "422"
                },
            }
            for path, operations in schema["paths"].items()
            for method, operation in operations.items()
        },
    )


def test_the_answers_are_the_same(golden: Golden, client: httpx.Client) -> None:
    answers: dict[str, object] = {}
    for route in JSON_ROUTES:
        answer = client.get(route)
        body = answer.json()
        if answer.status_code == 422:
            # Pydantic's own words.
            body = {"detail": [sorted(one) for one in body["detail"]]}
        answers[route] = {"status": answer.status_code, "headers": _headers(answer), "body": body}
    golden.same_json("http/answers.json", answers)


def test_the_answers_that_are_not_json_have_the_same_heads(golden: Golden, client: httpx.Client) -> None:
    heads: dict[str, object] = {}
    for route in BINARY_ROUTES:
        answer = client.get(route)
        own = {key: value for key, value in answer.headers.items() if key.startswith("x-") and key != "x-frame-options"}
        if "x-log-unit" in own:
            # A logarithm in single precision: its last digits are the processor's.
            own["x-log-unit"] = f"{float(own['x-log-unit']):.4g}"
        raw = "octet-stream" in answer.headers["content-type"]
        heads[route] = {
            "status": answer.status_code,
            "headers": _headers(answer) | own,
            "bytes": len(answer.content) if raw else None,
        }
    golden.same_json("http/heads.json", heads)


def test_slices_and_pictures_hold_the_same_pixels(golden: Golden, client: httpx.Client) -> None:
    coarse = np.frombuffer(client.get(f"/runs/{RUN}/slices?axis=0&dtype=uint8").content, np.uint8)
    fine = np.frombuffer(client.get(f"/runs/{RUN}/slices").content, "<f4").reshape(3, 64, 64)
    golden.same_json(
        "http/pixels.json",
        {
            "slice": {int(place): int(coarse[place]) for place in np.flatnonzero(coarse)},
            "planes": [[*map(int, place), round(float(fine[tuple(place)]), 3)] for place in np.argwhere(fine)],
            "picture": list(client.get(f"{GRAIN}/picture").content),
        },
    )


def test_the_table_of_runs_is_the_same_csv(golden: Golden, client: httpx.Client) -> None:
    golden.same_text("http/runs.csv", client.get("/runs.csv").text)


def test_a_model_input_has_the_same_arrays(golden: Golden, client: httpx.Client) -> None:
    with np.load(io.BytesIO(client.get(f"/runs/{RUN}/model-input.npz").content), allow_pickle=False) as archive:
        # The length of a text's type is that of the text.
        arrays = {name: _type_and_shape(archive[name]) for name in archive.files}
        assert str(archive["run_uid"]) == RUN
        assert type(full_result()).model_validate_json(str(archive["result"])) == full_result()
    golden.same_json("http/model-input.json", arrays)


def test_events_have_the_same_names_ids_and_data(golden: Golden, page: Page, client: httpx.Client) -> None:
    said = {
        "/events": _events(client, "/events", page.broker, [provisional(), full_result()], {}),
        "/sadp/events": _events(client, "/sadp/events", page.particles, [particle()], {}),
    }
    golden.same_json("http/events.json", said)


def test_a_client_that_resumes_is_asked_to_read_anew_in_the_same_words(
    golden: Golden, page: Page, client: httpx.Client
) -> None:
    last = {"Last-Event-ID": "6-12"}
    golden.same_json("http/events-reset.json", _events(client, "/events", page.broker, [], last))


def _events(
    client: httpx.Client, route: str, broker: ResultBroker[Any], records: list[object], headers: dict[str, str]
) -> list[str]:
    """What a client reads until the service ends: each line of each event, pings left out."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.get, route, headers=headers)
        while not broker.clients:
            assert not answer.done(), answer.result().text
            time.sleep(0.01)
        for record in records:
            broker.publish(record)
        broker.close()
        body = answer.result(timeout=30)
    assert body.headers["content-type"].startswith("text/event-stream")
    return [line for line in body.text.splitlines() if line and not line.startswith(":")]


def _headers(answer) -> dict[str, str]:
    return {key: answer.headers[key] for key in HEADERS if key in answer.headers}


def _type_and_shape(array: np.ndarray) -> list[object]:
    # The size of a text's type is the length of the text.
    return ["text" if array.dtype.kind == "U" else array.dtype.str, list(array.shape)]

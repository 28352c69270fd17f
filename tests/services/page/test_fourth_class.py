"""A model of four classes goes all the way, from the stream to whoever reads verdicts, with nothing told of the fourth.

Publisher, proxy, service, store, page, process variables and browser are the real ones.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import zmq

from braggwatch.models.bundling.registry import Registry
from braggwatch.services.serving import RunningService, serve
from braggwatch.services.settings import (
    FeedbackSettings,
    PageSettings,
    PublisherSettings,
    PvSettings,
    ScreeningSettings,
    Settings,
    StoreSettings,
)
from braggwatch.services.stream.codec import decode
from braggwatch.services.stream.stream_settings import StreamSettings
from support.live_service import Stream, documents_of, free_port
from support.quick_bundle import write_quick_registry
from support.scans import synthetic

CLASSES = ["perfect", "screw", "edge", "twin"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DASHBOARD = Path(__file__).parents[3] / "deploy/grafana/dashboards/braggwatch.json"


@dataclass
class Judged:
    """A service that has judged one run, whose verdict is the fourth class."""

    running: RunningService
    run_uid: str
    metrics_before: str
    derived: dict[str, object]
    pva_search_port: int

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.running.url + path, timeout=60.0).raise_for_status()


@pytest.fixture(scope="module")
def judged(shared_proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    tmp_path = tmp_path_factory.mktemp("twins")
    registry = write_quick_registry(tmp_path / "bundles", fourth_class="twin")
    # A spherical crystal: its peak is longest along no axis, and that is what the fourth class is of.
    case = synthetic(64, 128, 0.5, 1.2, 300.0)
    preset = tmp_path / "preset.json"
    preset.write_text(case.preset.model_dump_json())
    search_port = free_port()
    settings = Settings(
        stream=StreamSettings(address=shared_proxy.out_address, prefix="raw"),
        screening=ScreeningSettings(
            geometry=str(preset), model=str(Registry(registry).resolve("production")), threads=1
        ),
        store=StoreSettings(path=tmp_path / "results.sqlite"),
        page=PageSettings(port=0),
        feedback=FeedbackSettings(
            publisher=PublisherSettings(enabled=True, address=shared_proxy.in_address),
            pvs=PvSettings(enabled=True, prefix="TEST:", port=0, search_port=search_port),
        ),
    )
    documents = documents_of(case, 7)
    run_uid = documents[0][1]["uid"]
    with zmq.Context() as context, context.socket(zmq.SUB) as derived:
        derived.linger = 0
        derived.subscribe(b"braggwatch ")
        derived.connect(shared_proxy.out_address)
        with serve(settings) as running:
            assert running.composed.service.wait_ready(60.0), running.health.report().reasons
            before = httpx.get(running.url + "/metrics").text
            with contextlib.closing(Stream(shared_proxy.in_address, shared_proxy.out_address)) as stream:
                for name, document in documents:
                    stream.publisher(name, document)
            httpx.get(f"{running.url}/runs/{run_uid}/result", params={"wait": 60}, timeout=90.0).raise_for_status()
            yield Judged(running, run_uid, before, _derived_event(derived, run_uid), search_port)


def _derived_event(socket: zmq.Socket[bytes], run_uid: str) -> dict[str, object]:
    while socket.poll(30_000):
        name, document = decode(b"braggwatch", socket.recv())
        if name == "event" and isinstance(data := document["data"], dict) and data["run_uid"] == run_uid:
            return data
    pytest.fail("no derived run came")


def test_it_reaches_the_record_the_table_the_metrics_and_the_derived_run(judged: Judged) -> None:
    verdict = judged.get(f"/runs/{judged.run_uid}").json()["verdict"]
    assert (verdict["outcome"], verdict["label"]) == ("classified", "twin"), verdict["reason"]
    assert sorted(verdict["probabilities"]) == sorted(CLASSES)
    stored = judged.running.composed.store.get(judged.run_uid)
    assert stored is not None
    assert stored.verdict.headline == "twin"
    assert [one["run_uid"] for one in judged.get("/runs?label=twin").json()] == [judged.run_uid]
    assert judged.get("/classes").json() == CLASSES

    header, row = csv.reader(io.StringIO(judged.get("/runs.csv").text))
    columns = ["region_share", *(f"p_{name}" for name in CLASSES), "confidence"]
    at = header.index(columns[0])
    assert header[at : at + len(columns)] == columns
    assert float(row[header.index("p_twin")]) == verdict["probabilities"]["twin"]

    series = 'braggwatch_predictions_total{class="twin"}'
    assert f"{series} 0.0" in judged.metrics_before
    assert f"{series} 1.0" in judged.get("/metrics").text

    assert judged.derived["label"] == "twin"
    assert judged.derived["probability_twin"] == verdict["probabilities"]["twin"]


def test_it_is_a_choice_and_a_variable_of_its_own(judged: Judged, eventually) -> None:
    thread = pytest.importorskip("p4p.client.thread", reason="p4p is not installed")
    where = {
        "EPICS_PVA_ADDR_LIST": "127.0.0.1",
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_BROADCAST_PORT": str(judged.pva_search_port),
    }
    with thread.Context("pva", conf=where, useenv=False) as client:
        eventually(lambda: client.get("TEST:COUNT", timeout=10.0) == 1, 30.0, "the variables are set")
        assert str(client.get("TEST:VERDICT", timeout=10.0)) == "twin"
        assert client.get("TEST:LABEL", timeout=10.0) == "twin"
        assert client.get("TEST:PROBABILITY:TWIN", timeout=10.0) > 0.5


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_gives_it_a_shape_a_colour_and_a_place_in_the_legend(judged: Judged, request) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = request.getfixturevalue("browser")
    context = browser.new_context(base_url=judged.running.url, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    try:
        page.goto("/")
        row = page.locator("#runs tbody tr")
        api.expect(row.locator(".tag")).to_have_text("twin")
        api.expect(row).to_contain_text("T 100")
        legend = page.locator("#counts button.named")
        api.expect(legend).to_have_text(["perfect0", "screw0", "edge0", "twin1"])
        drawn = "marks => marks.map(m => [getComputedStyle(m).fill, m.getAttribute('d')])"
        marks = page.eval_on_selector_all("#counts button.named .mark", drawn)
        assert len({colour for colour, _ in marks}) == len({shape for _, shape in marks}) == len(CLASSES)
        in_row = page.eval_on_selector_all("#runs tbody .tag .mark", drawn)
        assert in_row == [marks[-1]]
        page.click("#counts .k-screw")
        api.expect(page.locator("#empty")).to_be_visible()
        page.click("#counts .k-twin")
        api.expect(row).to_be_visible()
    finally:
        context.close()


def test_the_dashboard_takes_classes_as_they_come() -> None:
    (panel,) = [one for one in json.loads(DASHBOARD.read_text())["panels"] if one["title"] == "Classes"]
    (target,) = panel["targets"]
    assert "sum by (class)" in target["expr"]
    assert target["legendFormat"] == "{{class}}"
    assert not any(name in target["expr"] for name in CLASSES)

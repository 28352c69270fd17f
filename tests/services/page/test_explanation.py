"""Why: the page, REST and the command line say which part of a pattern an answer depends on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes.base import RuntimeOutput
from braggwatch.models.verdict import Outcome, Verdict
from braggwatch.services.cli import app as command_line
from braggwatch.services.cxdp.live.explainer import Explainer, ExplanationRecord
from support.production import production_bundle

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class PeakWatcher:
    """Screw as long as the peak is there; can be held up."""

    name, version = "watcher", "1"

    def __init__(self) -> None:
        self.volumes = 0
        self.may_go = threading.Event()
        self.may_go.set()

    def run(self, batch: np.ndarray) -> RuntimeOutput:
        assert self.may_go.wait(30)
        self.volumes += len(batch)
        left = batch[:, 24:40, 24:40, 24:40].mean(axis=(1, 2, 3))
        screw = 0.2 + 0.7 * left / (1.0 + left)
        probabilities = np.stack([(1 - screw) / 2, screw, (1 - screw) / 2], axis=1).astype(np.float32)
        return RuntimeOutput(np.log(probabilities), probabilities, np.zeros((len(batch), 4), np.float32))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(production_bundle())


@pytest.fixture
def watcher() -> PeakWatcher:
    return PeakWatcher()


@pytest.fixture
def explained(world, bundle: Bundle, watcher: PeakWatcher) -> Iterator[Explainer]:
    world.explainer = Explainer(bundle, watcher, max_waiting=1)
    yield world.explainer
    watcher.may_go.set()
    world.explainer.close()


def test_an_explanation_is_computed_once_and_says_what_it_cost(
    explained: Explainer, world, http: httpx.Client, watcher: PeakWatcher, result_of
):
    world.publish(result_of("run-1", "screw"))
    answer = http.get("/runs/run-1/explanation")
    assert answer.status_code == 200, answer.text
    record = ExplanationRecord.model_validate(answer.json())
    assert (record.label, record.fill, record.evaluations) == ("screw", "zero", 561)
    assert not record.same_model, "another bundle gave the verdict"
    found = np.asarray(record.log_odds_drop)
    assert found.shape == (8, 8, 8)
    assert np.asarray(record.slab_drop).shape == (3, 16)
    assert found[3:5, 3:5, 3:5].min() > 0
    assert np.abs(found[0]).max() == 0
    assert record.largest_drop == pytest.approx(np.asarray(record.drop).max())
    spent = watcher.volumes
    assert http.get("/runs/run-1/explanation").json() == answer.json()
    assert watcher.volumes == spent


def test_the_class_explained_is_the_verdicts_most_probable_one(
    explained: Explainer, world, http: httpx.Client, result_of
):
    world.publish(result_of("run-1", "perfect"))
    assert http.get("/runs/run-1/explanation").json()["label"] == "perfect"


def test_what_cannot_be_explained_is_404_with_the_reason(explained: Explainer, world, http: httpx.Client, result_of):
    world.publish(result_of("run-1"), arrays=False)
    world.publish(result_of("run-2", None))
    answers = {uid: http.get(f"/runs/{uid}/explanation") for uid in ("run-1", "run-2", "run-3")}
    assert {answer.status_code for answer in answers.values()} == {404}
    assert "no model input kept" in answers["run-1"].json()["detail"]
    assert "no network answered" in answers["run-2"].json()["detail"]
    assert "no result" in answers["run-3"].json()["detail"]
    assert http.get("/runs/run-1/explanation", params={"fill": "noise"}).status_code == 422


def test_a_page_without_a_model_says_so(world, result_of):
    world.publish(result_of("run-1"))
    with world.client() as http:
        answer = http.get("/runs/run-1/explanation")
    assert answer.status_code == 404
    assert "no model to explain with" in answer.json()["detail"]


def test_requests_beyond_the_bound_are_told_to_come_again_and_the_page_stays_responsive(
    explained: Explainer, world, http: httpx.Client, watcher: PeakWatcher, result_of
):
    for n in range(4):
        world.publish(result_of(f"run-{n}"))
    watcher.may_go.clear()
    answers: dict[str, httpx.Response] = {}

    def ask(uid: str) -> None:
        answers[uid] = http.get(f"/runs/{uid}/explanation")

    threads = [threading.Thread(target=ask, args=(f"run-{n}",)) for n in (0, 0, 1)]
    for thread in threads:
        thread.start()
    while len(explained._open) < 2:
        threading.Event().wait(0.01)
    refused = http.get("/runs/run-2/explanation")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert http.get("/runs/run-3").status_code == 200
    watcher.may_go.set()
    for thread in threads:
        thread.join(60)
    assert {answer.status_code for answer in answers.values()} == {200}


def test_closing_ends_what_is_under_way(
    explained: Explainer, world, http: httpx.Client, watcher: PeakWatcher, result_of
):
    world.publish(result_of("run-1"))
    watcher.may_go.clear()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(http.get("/runs/run-1/explanation")))
    asking.start()
    while not explained._open:
        threading.Event().wait(0.01)
    closing = threading.Thread(target=explained.close)
    closing.start()
    while not explained._stopping.is_set():
        threading.Event().wait(0.01)
    watcher.may_go.set()
    closing.join(30)
    asking.join(30)
    assert answers[0].status_code == 503
    assert watcher.volumes < 100
    assert http.get("/runs/run-1/explanation").status_code == 503


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_button_lays_the_map_over_the_slices_and_takes_it_away(explained: Explainer, world, page, result_of):
    from playwright.sync_api import expect

    world.publish(result_of("run-1", "screw"))
    why = page.locator("#why")
    expect(why).to_be_enabled()
    expect(page.locator("#slices-note")).to_contain_text("voxel")
    plain = _colours(page)
    why.click()
    expect(page.locator("#why-note")).to_contain_text(
        "Hiding the strongest block takes the probability of screw from 9"
    )
    expect(page.locator("#why-note")).to_contain_text("which is not the model of the verdict")
    shown = _colours(page)
    assert shown != plain
    for centre, corner in shown:
        assert centre[0] > centre[2] + 40, "orange over the peak"
        assert max(corner) - min(corner) <= 2, "grey in the corner"
    page.keyboard.press("w")
    expect(page.locator("#why-note")).to_be_hidden()
    assert _colours(page) == plain


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_gives_the_reason_where_there_is_no_explanation(explained: Explainer, world, page, result_of):
    from playwright.sync_api import expect

    world.publish(result_of("run-1", None), arrays=False)
    expect(page.locator("#summary h2")).to_have_text("Scan 54")
    expect(page.locator("#why")).to_be_disabled()
    world.publish(result_of("run-2", "screw", finished_at=1.8e9), arrays=False)
    expect(page.locator("#why")).to_be_enabled()
    page.locator("#why").click()
    expect(page.locator("#why-note")).to_contain_text("no model input kept")


def _colours(page) -> list[list[list[int]]]:
    return page.eval_on_selector_all(
        "canvas[data-slice]",
        """nodes => nodes.map((c, plane) => {
          const context = c.getContext('2d');
          const at = (x, y) => [...context.getImageData(x, y, 1, 1).data.slice(0, 3)];
          const left = plane === 0 ? 28 : 4;
          const side = c.height - 38;
          return [at(left + side / 2, 18 + side / 2), at(left + 5, 18 + 5)];
        })""",
    )


@pytest.fixture
def kept(world, bundle: Bundle, result_of, tmp_path: Path):
    """A store with the model's own golden pattern as run-1."""
    from braggwatch.callbacks.cxdp.records import ModelInput, ScreeningReport

    result = result_of("run-1", "edge")
    counts = bundle.golden.counts[2]
    model_input = ModelInput("run-1", counts, np.eye(3), np.zeros(3), result.quality)
    world.store.put(ScreeningReport(result, model_input))
    npz = tmp_path / "run-1.npz"
    np.savez_compressed(npz, intensity=counts)
    return tmp_path / "results.sqlite", npz


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("from_store", [True, False])
def test_the_command_explains_a_stored_run_and_a_file(from_store, kept, tmp_path: Path):
    pytest.importorskip("captum")
    store, npz = kept
    out = tmp_path / ("why.html" if from_store else "why.png")
    what = ["run-1", "--store", str(store)] if from_store else [str(npz)]
    done = CliRunner().invoke(command_line, ["explain", *what, "--out", str(out), "--method", "gradcam", "--json"])
    assert done.exit_code == 0, done.output
    assert '"label": "edge"' in done.output
    if not from_store:
        assert out.read_bytes().startswith(b"\x89PNG")
        return
    page = out.read_text(encoding="utf-8")
    assert "why edge" in page
    assert "data:image/png;base64," in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", "--store", "absent.sqlite"], "is no file, and there is no store"),
        (["x", "--out", "why.jpg"], "is a .png or a .html"),
        (["x", "--cells", "9"], "8 or 16"),
    ],
)
def test_the_command_refuses_with_one_clear_line(arguments, words):
    done = CliRunner().invoke(command_line, ["explain", *arguments])
    assert done.exit_code == 3
    assert words in done.output.replace("\n", " ")


def test_a_verdict_without_class_is_explained_for_its_most_probable_one(
    explained: Explainer, world, http: httpx.Client, result_of
):
    unsure = Verdict(outcome=Outcome.UNSURE, reason="?", probabilities={"perfect": 0.3, "screw": 0.2, "edge": 0.5})
    world.publish(result_of("run-1").model_copy(update={"verdict": unsure}))
    assert http.get("/runs/run-1/explanation").json()["label"] == "edge"

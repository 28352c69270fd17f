"""Electron diffraction over HTTP and in a real browser."""

from __future__ import annotations

import json
import shutil

import httpx
import numpy as np
import pytest

from braggwatch.callbacks.sadp.judging import NoPatternModel, PatternModel
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
from braggwatch.services.live.result_broker import ResultBroker
from braggwatch.services.sadp.live.pattern_desk import PatternDesk
from braggwatch.services.sadp.live.pattern_picture import pack_picture, unpack_picture
from braggwatch.services.sadp.live.pattern_store import PatternStore
from support.patterns import QuickJudge, net, noisy, pattern_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Stream:
    """Judges documents into the page's world."""

    def __init__(self, world, model=None) -> None:
        self.desk = PatternDesk(PatternStore.of(world.store), ResultBroker(7), world.metrics)
        world.patterns = self.desk
        self.callback = PatternCallback(model or PatternModel(QuickJudge(), 0.9), self.desk.take)

    def send(self, documents) -> None:
        for name, document in documents:
            self.callback(name, document)
        self.desk.flush(force=True)


@pytest.fixture
def stream(world) -> Stream:
    return Stream(world)


@pytest.fixture
def http(world, stream: Stream):
    with world.client() as client:
        yield client


def test_particles_patterns_and_history_are_read(http: httpx.Client, stream: Stream) -> None:
    run = pattern_run([noisy(net(), n) for n in range(3)], particles=["a/1 %", "b", "a/1 %"], visits=[1, 1, 2])
    stream.send(run)
    assert [state["particle"] for state in http.get("/sadp/particles").json()] == ["a/1 %", "b"]
    path = f"/sadp/runs/{run.uid}/particles/a/1%20%25"
    patterns = http.get(f"{path}/patterns").json()
    assert [pattern["seq_num"] for pattern in patterns] == [1, 3]
    history = http.get(f"{path}/history").json()
    assert history["number"] == [1, 3]
    assert history["product"]["225"] == [pattern["crystal"]["product"]["225"] for pattern in patterns]
    assert http.get(f"/sadp/runs/{run.uid}").json()["ending"] == "complete"
    assert http.get("/sadp/runs/none").status_code == 404
    assert http.get(f"/sadp/runs/{run.uid}/particles/none/patterns").status_code == 404


def test_the_picture_has_its_spots_where_they_are(http: httpx.Client, stream: Stream) -> None:
    frame = net(22.0, 2, 400)
    run = pattern_run([frame], data_key={"modality": "sadp", "inv_nm_per_px": 0.1})
    stream.send(run)
    answer = http.get(f"/sadp/runs/{run.uid}/particles/foil/picture")
    rows, columns = map(int, answer.headers["X-Shape"].split(","))
    assert (rows, columns) == (200, 200)
    assert float(answer.headers["X-Inv-Nm-Per-Px"]) == pytest.approx(0.2)
    picture = np.frombuffer(answer.content, np.uint8).reshape(rows, columns)
    spots = np.array(json.loads(answer.headers["X-Spots"]))
    assert len(spots) == 24
    for x, y, _ in spots:
        around = picture[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6]
        row, column = np.argwhere(around == around.max()).mean(axis=0)
        assert max(abs(row - 5), abs(column - 5)) <= 1
    x, y = map(float, answer.headers["X-Centre"].split(","))
    assert (x, y) == pytest.approx((99.5, 99.5), abs=0.3)
    found = stream.desk.picture(run.uid, "foil")
    assert found is not None
    again = unpack_picture(pack_picture(found))
    assert np.array_equal(again.pixels, found.pixels)
    assert again.spots == pytest.approx(np.round(found.spots, 3))


def test_after_a_restart_the_last_picture_is_still_there(world, stream: Stream) -> None:
    run = pattern_run([net()])
    stream.send(run)
    fresh = PatternDesk(PatternStore.of(world.store), ResultBroker(8))
    last = fresh.picture(run.uid, "foil")
    assert last is not None
    assert last.seq_num == 1
    assert fresh.picture(run.uid, "nobody") is None


@pytest.fixture
def page(world, stream: Stream, browser):
    """The open page of electron diffraction; fails on any error the browser reports."""
    errors: list[str] = []
    with world.served() as url:
        context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
        opened.goto("/sadp")
        opened.wait_for_selector("#status .chip")
        while not stream.desk.broker.clients:
            opened.wait_for_timeout(10)
        yield opened
        context.close()
    assert errors == []


in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@in_browser
def test_odds_grow_on_the_page_while_the_run_goes_on(page, stream: Stream) -> None:
    expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
    expect(page.locator("#empty")).to_be_visible()
    run = pattern_run([noisy(net(), n) for n in range(4)], particles=["grain 7"] * 4, visits=[1, 2, 3, 4])
    stream.send(run[:3])
    card = page.locator("#particles button")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("grain 7")
    expect(card).to_contain_text("1 patterns")
    expect(card).to_contain_text("live")
    expect(page.locator("#pattern")).to_have_attribute("data-seq", "1")
    stream.send(run[3:])
    expect(card).to_contain_text("4 patterns")
    expect(card).to_contain_text("ended")
    expect(page.locator("#pattern")).to_have_attribute("data-seq", "4")
    expect(page.locator("#pattern")).to_have_attribute("data-spots", "24")
    expect(page.locator("#odds .band")).to_have_count(5)
    expect(page.locator("#verdict")).to_contain_text("4 usable of 4 patterns")
    expect(page.locator("#legend")).to_contain_text("225")
    # the pattern is drawn: bright at a spot, dark between spots
    bright, dark = page.evaluate(
        """() => {
          const canvas = document.querySelector('#pattern');
          const zoom = canvas.width / 128;
          const at = (x, y) => canvas.getContext('2d').getImageData((x + 0.5) * zoom, (y + 0.5) * zoom, 1, 1).data;
          const sum = (x, y) => at(x, y).slice(0, 3).reduce((a, b) => a + b);
          return [sum(85.5, 63.5), sum(74.5, 74.5)];
        }"""
    )
    assert bright > 400
    assert dark < 200


@in_browser
def test_what_is_set_aside_is_told_with_its_reason(page, stream: Stream) -> None:
    expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
    run = pattern_run([noisy(net(), 0), np.zeros((128, 128), np.uint16)])
    stream.send(run)
    expect(page.locator("#aside")).to_contain_text("1 blank")
    expect(page.locator("#pattern-words")).to_contain_text("every pixel holds 0")
    expect(page.locator("#odds .missed")).to_have_count(1)
    expect(page.locator("#particles button")).to_contain_text("1 set aside")


@in_browser
def test_a_script_in_a_particles_name_stays_text(page, stream: Stream) -> None:
    expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
    name = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    stream.send(pattern_run([net()], particles=[name]))
    expect(page.locator("#particles b")).to_have_text(name)
    expect(page.locator("#verdict b")).to_have_text(name)
    expect(page.locator("#pattern")).to_have_attribute("data-seq", "1")
    assert page.locator("#particles img, #verdict img").count() == 0
    assert "broken" not in page.title()


@in_browser
def test_the_page_stays_with_a_chosen_particle(page, stream: Stream) -> None:
    expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
    stream.send(pattern_run([net(), net()], particles=["a", "b"]))
    expect(page.locator("#verdict b")).to_have_text("b")
    page.click("#particles button[data-particle='a']")
    expect(page.locator("#verdict b")).to_have_text("a")
    stream.send(pattern_run([net()], particles=["c"]))
    expect(page.locator("#particles button")).to_have_count(3)
    expect(page.locator("#verdict b")).to_have_text("a")
    page.check("#follow")
    stream.send(pattern_run([net()], particles=["d"]))
    expect(page.locator("#verdict b")).to_have_text("d")


@in_browser
def test_without_a_model_the_page_says_what_to_do(world, browser) -> None:
    expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
    stream = Stream(world, NoPatternModel("no bundle goes by 'sadp': train one"))
    with world.served() as url:
        context = browser.new_context(base_url=url)
        opened = context.new_page()
        stream.send(pattern_run([net()]))
        opened.goto("/sadp")
        expect(opened.locator("#notice")).to_contain_text("train one")
        expect(opened.locator("#verdict")).to_contain_text("no usable pattern")
        context.close()

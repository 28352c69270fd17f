"""What a perfect crystal excludes is on the page, in the table of all runs and in the derived run."""

from __future__ import annotations

import csv
import io
import shutil
from typing import Any

import pytest

from braggwatch.callbacks.cxdp.records import BurgersVisibility
from braggwatch.callbacks.cxdp.run.reflection import StatedReflection, burgers_visibility
from braggwatch.services.cxdp.live.derived_run import derived_run, flat_fields
from braggwatch.sim.crystallography.stated_lattice import stated_lattice

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

AT_111 = burgers_visibility(StatedReflection((1, -1, 1), "start:hkl", lattice=stated_lattice("fcc")))
UNKNOWN = burgers_visibility(StatedReflection(None, None))
FAR_UNKNOWN = "how far from the centre is unknown"
PHRASE = "as far as 1-11 sees: blind to 3 of 6 Burgers directions"


@in_a_browser
def test_a_perfect_verdict_never_stands_alone(world, page, result_of):
    from playwright.sync_api import expect

    world.publish(result_of("run-1", "perfect", burgers=AT_111))
    row = page.locator("#runs tbody tr")
    expect(row.locator(".tag")).to_have_text("perfect at 1-11")
    expect(row.locator(".limits")).to_have_text(f"{PHRASE}; {FAR_UNKNOWN}")
    expect(page.locator("#summary .limits")).to_have_text(f"perfect, {PHRASE}; {FAR_UNKNOWN}")
    directions, region = page.locator("#summary .excludes").all()
    expect(directions).to_contain_text("can't see b = ½[110], ½[10-1] or ½[011]")
    expect(region).to_contain_text("how far from the centre this model finds lines is not known")
    page.locator("#counts .k-perfect").first.click()
    expect(row).to_be_visible()


@in_a_browser
@pytest.mark.parametrize("burgers", [None, UNKNOWN])
def test_where_the_reflection_is_unknown_the_page_says_so(burgers, world, page, result_of):
    from playwright.sync_api import expect

    world.publish(result_of("run-1", "perfect", burgers=burgers))
    row = page.locator("#runs tbody tr")
    expect(row.locator(".tag")).to_have_text("perfect at an unknown hkl")
    expect(row.locator(".limits")).to_contain_text("as far as its reflection sees")


@in_a_browser
def test_a_defect_is_named_as_before_with_what_it_was_looked_at_with(world, page, result_of):
    from playwright.sync_api import expect

    world.publish(result_of("run-1", "screw", burgers=AT_111))
    expect(page.locator("#runs .tag")).to_have_text("screw")
    assert page.locator(".limits").count() == 0
    expect(page.locator("#summary .excludes")).to_contain_text("½[101]")


def test_the_record_travels_whole(world, http, result_of):
    world.publish(result_of("run-1", "perfect", burgers=AT_111))
    record = http.get("/runs/run-1").json()
    assert record["burgers"]["hkl"] == [1, -1, 1]
    assert record["burgers"]["blind"] == [[1, 1, 0], [1, 0, -1], [0, 1, 1]]
    assert BurgersVisibility.model_validate(record["burgers"]) == AT_111
    assert record["verdict"]["label"] == "perfect"


def test_the_table_has_columns_that_no_spreadsheet_takes_for_dates(world, http, result_of):
    world.publish(result_of("run-1", "perfect", burgers=AT_111), arrays=False)
    world.publish(result_of("run-2", "perfect", burgers=UNKNOWN), arrays=False)
    world.publish(result_of("run-3", "perfect"), arrays=False)
    rows = {row["run_uid"]: row for row in csv.DictReader(io.StringIO(http.get("/runs.csv").text))}
    known = rows["run-1"]
    assert (known["hkl"], known["blind_directions"]) == ("(1 -1 1)", "3")
    assert known["burgers_seen"] == "[1-10] [101] [01-1]"
    assert known["burgers_blind"] == "[110] [10-1] [011]"
    for uid in ("run-2", "run-3"):
        assert {rows[uid][c] for c in ("hkl", "burgers_seen", "burgers_blind", "blind_directions")} == {""}


def test_the_derived_run_says_it_in_words_and_in_fields(result_of):
    result = result_of("run-1", "perfect", burgers=AT_111)
    documents: dict[str, Any] = dict(derived_run(result, 3))
    data = documents["event"]["data"]
    assert data["label"] == data["verdict"] == "perfect"
    assert data["verdict_in_words"] == f"perfect, {PHRASE}; {FAR_UNKNOWN}"
    assert (data["hkl"], data["blind_directions"]) == ("(1 -1 1)", 3)
    assert data["burgers_blind"] == "[110] [10-1] [011]"
    assert documents["descriptor"]["data_keys"]["blind_directions"]["dtype"] == "integer"
    assert "½[110]" in data["excludes"]


@pytest.mark.parametrize("burgers", [None, UNKNOWN])
def test_the_derived_run_invents_no_directions(burgers, result_of):
    fields = flat_fields(result_of("run-1", "perfect", burgers=burgers), 3)
    assert not {"hkl", "burgers_seen", "burgers_blind", "blind_directions"} & set(fields)
    words = fields["verdict_in_words"]
    assert isinstance(words, str)
    assert words.startswith("perfect, as far as its reflection sees")
    assert ("excludes" in fields) == (burgers is not None)


def test_the_table_and_the_derived_run_name_the_directions_of_the_lattice_at_hand(world, http, result_of):
    w = burgers_visibility(StatedReflection((2, 0, 0), "start:hkl", lattice=stated_lattice(material="W")))
    oxide = burgers_visibility(StatedReflection((0, 0, 2), "start:hkl", lattice=stated_lattice(material="ZnO")))
    world.publish(result_of("run-1", "perfect", burgers=w), arrays=False)
    world.publish(result_of("run-2", "perfect", burgers=oxide), arrays=False)
    rows = {row["run_uid"]: row for row in csv.DictReader(io.StringIO(http.get("/runs.csv").text))}
    assert rows["run-1"]["burgers_blind"] == "[010] [001]"
    assert rows["run-2"]["burgers_blind"] == "[2-1-10] [1-210] [11-20]"
    assert rows["run-2"]["blind_directions"] == "3"
    fields = flat_fields(result_of("run-1", "perfect", burgers=w), 1)
    assert fields["burgers_seen"] == "[111] [11-1] [1-11] [1-1-1] [100]"
    seen = "as far as 200 sees: blind to 2 of 7 Burgers directions"
    assert fields["verdict_in_words"] == f"perfect, {seen}; {FAR_UNKNOWN}"

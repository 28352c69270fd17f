"""The REST interface as a script or a plan uses it."""

from __future__ import annotations

import csv
import io
import json
import threading

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.services.cxdp.live.exports import safe_file_name
from braggwatch.services.cxdp.live.slices import central_slices


def test_a_result_is_read_back_as_it_was_stored(world, result_of):
    result = result_of("run-1")
    world.publish(result)
    with world.client() as client:
        answer = client.get("/runs/run-1")
    assert answer.status_code == 200
    assert type(result).model_validate_json(answer.content) == result


def test_text_that_is_none_is_shown_with_question_marks(world, result_of, provisional_of):
    world.board.put(type(told := provisional_of(result_of("run-0")))(**{**dict(told), "sample": "caf\udce9"}))
    result = result_of("run-1")
    world.publish(type(result)(**{**dict(result), "sample": "caf\udce9"}))
    world.health.degraded("model", "no file caf\udce9")
    world.health.remark("runs", "run \ud83d")
    with world.client() as client:
        for path, shown in (
            ("/provisional", "caf?"),
            ("/runs", "caf?"),
            ("/runs/run-1", "caf?"),
            ("/runs.csv", "caf?"),
            ("/readyz", "no file caf?"),
            ("/status", "run ?"),
        ):
            assert shown in client.get(path).text, path


def test_what_is_said_of_a_run_on_its_way_is_there_until_its_record_is(world, result_of, provisional_of):
    first, last = (provisional_of(result_of("run-1"), received) for received in (43, 52))
    with world.client() as client:
        assert client.get("/provisional").json() == []
        assert client.get("/runs/run-1/provisional").status_code == 404
        world.board.put(first)
        world.board.put(last)
        told = client.get("/runs/run-1/provisional")
        assert type(last).model_validate_json(told.content) == last
        assert len(client.get("/provisional").json()) == 1
        assert client.get("/runs/run-1/result").status_code == 404
        world.publish(result_of("run-1"))
        assert client.get("/runs/run-1/provisional").status_code == 404
        assert client.get("/provisional").json() == []


def test_waiting_for_a_result_ignores_what_is_said_on_the_way(world, http: httpx.Client, result_of, provisional_of):
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(http.get("/runs/run-1/result", params={"wait": 15})))
    waiting.start()
    while not world.broker.clients:
        pass
    world.board.put(provisional_of(result_of("run-1")))
    world.publish(result_of("run-1"))
    waiting.join(20)
    assert answers[0].status_code == 200
    assert answers[0].json()["frames_received"] == 61


def test_a_run_without_a_result_is_404_everywhere(world):
    with world.client() as client:
        for path in ("", "/result", "/provisional", "/slices", "/rocking", "/model-input.npz"):
            assert client.get(f"/runs/unknown{path}").status_code == 404


def test_the_list_is_newest_first_and_pages(world, result_of):
    for n in range(5):
        world.publish(result_of(f"run-{n}", scan_id=n, finished_at=1e9 + n), arrays=False)
    with world.client() as client:
        first = client.get("/runs", params={"limit": 2}).json()
        second = client.get("/runs", params={"after": first[-1]["run_uid"]}).json()
        third = client.get("/runs", params={"after": second[-1]["run_uid"]}).json()
    assert [r["scan_id"] for r in first + second] == [4, 3, 2, 1, 0]
    assert third == []


def test_the_list_filters_by_class_and_by_outcome(world, result_of):
    for n, label in enumerate(["screw", "edge", "screw", None]):
        world.publish(result_of(f"run-{n}", label), arrays=False)
    with world.client() as client:
        screws = client.get("/runs", params={"label": "screw"}).json()
        one = client.get("/runs", params={"label": "screw", "limit": 1}).json()
        invalid = client.get("/runs", params={"label": "invalid"}).json()
    assert [r["run_uid"] for r in screws] == ["run-2", "run-0"]
    assert [r["run_uid"] for r in one] == ["run-2"]
    assert [r["run_uid"] for r in invalid] == ["run-3"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=nobody"])
def test_a_wrong_query_is_refused(world, query):
    with world.client() as client:
        assert client.get(f"/runs?{query}").status_code in (404, 422)


def test_waiting_returns_at_once_where_the_result_is_there(world, result_of):
    world.publish(result_of("run-1"))
    with world.client() as client:
        assert client.get("/runs/run-1/result?wait=60").json()["run_uid"] == "run-1"


def test_waiting_in_vain_is_202_and_says_ask_again(world):
    with world.client() as client:
        answer = client.get("/runs/run-1/result?wait=0.05")
    assert answer.status_code == 202
    assert answer.headers["retry-after"] == "1"


def test_waiting_is_ended_by_the_result(world, http: httpx.Client, result_of):
    answers: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: answers.append(http.get("/runs/run-1/result?wait=15")))
    waiter.start()
    while not world.broker.clients:
        pass
    world.publish(result_of("run-0"))
    world.publish(result_of("run-1", "edge"))
    waiter.join()
    assert answers[0].status_code == 200
    assert answers[0].json()["verdict"]["label"] == "edge"


def test_slices_are_the_logarithm_of_the_central_planes(world, result_of):
    world.publish(result_of("run-1"))
    with world.client() as client:
        answer = client.get("/runs/run-1/slices")
        one = client.get("/runs/run-1/slices?axis=1")
        small = client.get("/runs/run-1/slices?dtype=uint8")
    assert answer.headers["x-shape"] == "3,64,64"
    assert float(answer.headers["x-voxel-size-inv-a"]) == pytest.approx(5e-4)
    planes = np.frombuffer(answer.content, "<f4").reshape(3, 64, 64)
    expected = central_slices(world.store.model_input("run-1"))
    np.testing.assert_array_equal(planes, expected)
    np.testing.assert_array_equal(np.frombuffer(one.content, "<f4").reshape(64, 64), expected[1])
    steps = np.frombuffer(small.content, np.uint8).reshape(3, 64, 64) * float(small.headers["x-log-unit"])
    np.testing.assert_allclose(steps, expected, atol=expected.max() / 255)


def test_a_slice_keeps_the_axes_in_order():
    cube = np.zeros((8, 8, 8), np.float32)
    cube[2, 4, 4] = 9.0
    planes = central_slices(cube)
    assert planes[0].max() == 0
    assert planes[1, 2, 4] == pytest.approx(1.0)
    assert planes[2, 2, 4] == pytest.approx(1.0)


def test_a_damaged_array_is_drawn_without_nan():
    assert np.isfinite(central_slices(np.full((4, 4, 4), np.nan, np.float32))).all()


def test_a_run_without_arrays_says_so(world, result_of):
    world.publish(result_of("run-1", None, quality=None), arrays=False)
    with world.client() as client:
        for path in ("slices", "rocking", "model-input.npz"):
            answer = client.get(f"/runs/run-1/{path}")
            assert answer.status_code == 404
            assert "kept" in answer.json()["detail"]


def test_the_rocking_curve_comes_with_its_angles(world, result_of):
    world.publish(result_of("run-1"))
    with world.client() as client:
        curve = client.get("/runs/run-1/rocking").json()
    assert len(curve["x"]) == len(curve["counts"]) == 61
    assert curve["x"][0] == pytest.approx(-0.3)
    assert max(curve["counts"]) == pytest.approx(1e4)


def test_the_npz_loads_without_pickle(world, result_of):
    world.publish(result_of("run-1"))
    with world.client() as client:
        answer = client.get("/runs/run-1/model-input.npz")
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
        assert arrays["intensity"].shape == (64, 64, 64)
        assert arrays["intensity"].dtype == np.float32
        assert json.loads(str(arrays["result"]))["run_uid"] == "run-1"


@given(st.text(max_size=200))
def test_a_download_name_is_harmless(uid):
    name = safe_file_name(uid, ".npz")
    assert name.isascii()
    assert not set(name) & set("/\\\"'; \n\r")
    assert name.count(".") == 1


def test_csv_holds_each_run_and_no_formula(world, result_of):
    world.publish(result_of("run-1", sample="=cmd|' /C calc'!A0"), arrays=False)
    world.publish(result_of("run-2", None, quality=None, sample='plain, with "quotes"'), arrays=False)
    with world.client() as client:
        rows = list(csv.DictReader(io.StringIO(client.get("/runs.csv").text)))
    assert [row["run_uid"] for row in rows] == ["run-2", "run-1"]
    assert rows[0]["sample"] == 'plain, with "quotes"'
    assert rows[0]["label"] == ""
    assert rows[1]["sample"].startswith("'=")
    assert rows[1]["p_screw"] == "0.9"


def test_csv_has_a_column_for_each_class_of_this_model_and_of_models_before(world, result_of):
    header = (
        "finished_at,scan_id,run_uid,revision,sample,x,y,outcome,label,hkl,burgers_seen,burgers_blind,blind_directions,"
        "p_perfect,p_screw,p_edge,confidence,prediction_set,ood_score,ood_threshold,frames_received,frames_expected,"
        "size_nm,voxel_size_inv_A,d_spacing_A,latency_s,truth,model,model_sha256,reason,trained_for"
    )
    with world.client() as client:
        assert client.get("/runs.csv").text == header + "\r\n"
        other = result_of("run-1")
        verdict = other.verdict.model_copy(update={"label": "twin", "probabilities": {"twin": 0.9, "screw": 0.1}})
        world.publish(other.model_copy(update={"verdict": verdict}), arrays=False)
        world.publish(result_of("run-2"), arrays=False)
        text = client.get("/runs.csv").text
    assert text.splitlines()[0] == header.replace("p_edge,", "p_edge,p_twin,")
    newer, older = csv.DictReader(io.StringIO(text))
    assert (newer["p_twin"], newer["p_screw"], newer["confidence"]) == ("", "0.9", "0.9")
    assert (older["p_twin"], older["p_perfect"]) == ("0.9", "")

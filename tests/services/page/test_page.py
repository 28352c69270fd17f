"""Who gets in, what goes out live, and what a supervisor sees."""

from __future__ import annotations

import json

import pytest
from pydantic import SecretStr

from braggwatch.services.settings import PageSettings, load_settings
from braggwatch.services.settings_error import SettingsError

TOKEN = "a-long-token"


def remote(world):
    return world.client("beamline.example:8080", host="0.0.0.0", read_token=TOKEN)


def read_events(response, count):
    """Read `count` server-sent events as dicts of their fields."""
    events, current = [], {}
    for line in response.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            current[name] = value.strip()
        elif current:
            events.append(current)
            current = {}
            if len(events) == count:
                break
    return events


def test_the_page_and_its_parts_are_served(world):
    with world.client() as client:
        page = client.get("/")
        assert page.status_code == 200
        for path in ("style.css", "main.js", "theme.js", "icon.svg"):
            assert f"/static/{path}" in page.text
            assert client.get(f"/static/{path}").status_code == 200


def test_nothing_is_loaded_from_elsewhere(world):
    with world.client() as client:
        answer = client.get("/")
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "http://" not in answer.text
        assert "https://" not in answer.text
        assert client.get("/docs").status_code == 404


def test_beyond_loopback_a_token_must_be_set(world):
    with pytest.raises(ValueError, match="token"):
        PageSettings(host="0.0.0.0")
    unchecked = PageSettings.model_construct(host="10.0.0.1", read_token=None, operate_token=None)
    with pytest.raises(ValueError, match="token"):
        world.app_with(unchecked)


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_a_blank_token_is_none(world, blank, monkeypatch: pytest.MonkeyPatch, result_of):
    monkeypatch.setenv("BRAGGWATCH_PAGE__HOST", "0.0.0.0")
    monkeypatch.setenv("BRAGGWATCH_PAGE__READ_TOKEN", blank)
    with pytest.raises(SettingsError, match="read_token"):
        load_settings()
    unchecked = PageSettings.model_construct(host="0.0.0.0", read_token=SecretStr(blank), operate_token=None)
    with pytest.raises(ValueError, match="token"):
        world.app_with(unchecked)
    # A blank second token must not open what the first one closes.
    world.publish(result_of("run-1"))
    with world.client("elsewhere:8080", host="0.0.0.0", read_token=TOKEN, operate_token=blank) as client:
        for headers in ({}, {"Authorization": "Bearer"}, {"Cookie": "braggwatch_token="}):
            assert client.get("/runs", headers=headers).status_code == 401
        assert client.post("/login", content="token=", follow_redirects=False).status_code == 401
        assert client.get("/runs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_without_the_token_nothing_is_told(world, result_of):
    world.publish(result_of("run-1"))
    with remote(world) as client:
        for path in ("/runs", "/runs/run-1", "/runs.csv", "/events", "/metrics", "/status", "/static/main.js"):
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert "run-1" not in answer.text
        assert client.get("/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/livez").status_code == 200


def test_the_token_opens(world, result_of):
    world.publish(result_of("run-1"))
    with remote(world) as client:
        answer = client.get("/runs", headers={"Authorization": f"Bearer {TOKEN}"})
    assert [r["run_uid"] for r in answer.json()] == ["run-1"]


def test_a_browser_logs_in_once_and_keeps_the_token_out_of_scripts(world):
    with remote(world) as client:
        asked = client.get("/", headers={"Accept": "text/html"})
        assert asked.status_code == 401
        assert "password" in asked.text
        assert client.post("/login", content="token=wrong").status_code == 401
        assert client.get("/runs").status_code == 401
        entered = client.post("/login", content=f"token={TOKEN}", follow_redirects=False)
        assert entered.status_code == 303
        assert "HttpOnly" in entered.headers["set-cookie"]
        assert "SameSite=strict" in entered.headers["set-cookie"]
        assert client.get("/runs").status_code == 200


def test_a_foreign_name_for_loopback_is_refused(world):
    with world.client() as client:
        assert client.get("/runs", headers={"Host": "attacker.example"}).status_code == 421
        for name in ("localhost", "127.0.0.1:8080", "[::1]:8080"):
            assert client.get("/runs", headers={"Host": name}).status_code == 200


def test_results_arrive_as_events_with_ids(world, http, result_of):
    with http.stream("GET", "/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        while not world.broker.clients:
            pass
        world.publish(result_of("run-1"))
        world.publish(result_of("run-2"))
        events = read_events(response, 2)
    assert [(e["event"], e["id"]) for e in events] == [("result", "7-1"), ("result", "7-2")]
    assert json.loads(events[1]["data"])["run_uid"] == "run-2"


def test_what_is_said_of_a_run_on_its_way_is_an_event_of_its_own(world, http, result_of, provisional_of):
    with http.stream("GET", "/events") as response:
        while not world.broker.clients:
            pass
        world.board.put(provisional_of(result_of("run-1")))
        world.publish(result_of("run-1"))
        events = read_events(response, 2)
    assert [(e["event"], e["id"]) for e in events] == [("provisional", "7-1"), ("result", "7-2")]
    assert json.loads(events[0]["data"])["frames_received"] == 43


def test_a_client_that_comes_back_gets_what_it_missed(world, http, result_of):
    for n in range(3):
        world.publish(result_of(f"run-{n}"), arrays=False)
    with http.stream("GET", "/events", headers={"Last-Event-ID": "7-1"}) as response:
        events = read_events(response, 2)
    assert [json.loads(e["data"])["run_uid"] for e in events] == ["run-1", "run-2"]


def test_after_a_restart_the_client_is_told_to_start_over(world, http):
    with http.stream("GET", "/events", headers={"Last-Event-ID": "6-40"}) as response:
        assert read_events(response, 1)[0]["event"] == "reset"


def test_readiness_gives_its_reasons(world):
    with world.client() as client:
        starting = client.get("/readyz")
        assert starting.status_code == 503
        assert starting.json()["state"] == "starting"
        for part in ("stream", "model", "store"):
            world.health.ok(part)
        assert client.get("/readyz").json()["state"] == "ready"
        world.health.degraded("model", "no GPU, the CPU stands in")
        degraded = client.get("/readyz")
        assert degraded.status_code == 200
        assert degraded.json()["state"] == "degraded"
        assert degraded.json()["reasons"] == ["model: no GPU, the CPU stands in"]
        world.health.failed("stream", "not connected to tcp://127.0.0.1:5578")
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200


def test_a_remark_stands_on_the_page_of_a_service_that_is_ready(world):
    for part in ("stream", "model", "store"):
        world.health.ok(part)
    world.health.remark("runs", "run r has no frames of 'det_image'")
    with world.client() as client:
        for path in ("/readyz", "/status"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.json()["state"] == "ready"
            assert answer.json()["reasons"] == ["runs: run r has no frames of 'det_image'"]


def test_the_status_says_what_was_lost_and_who_speaks(world, result_of):
    world.metrics.documents_lost(3)
    world.metrics.document_received("start", 100)
    world.publish(result_of("run-1"), arrays=False)
    with world.client() as client:
        status = client.get("/status").json()
    assert status["lost_documents"] == 3
    assert status["lag_s"] == pytest.approx(0.4)
    assert status["last_document_age_s"] >= 0
    assert status["model_id"] == "cxdp-fcc/1.0.0"
    assert status["runtime"] == "onnxruntime-cpu"


def test_metrics_are_exposed(world):
    with world.client() as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "braggwatch_documents_lost_total 0.0" in answer.text

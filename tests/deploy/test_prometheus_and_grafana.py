"""Alerts and dashboard: valid, tested, documented, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from braggwatch.services.metrics.gpu_metrics import GpuCollector
from braggwatch.services.metrics.prometheus import Metrics
from support.gpus import gpu_reading

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/dashboards/braggwatch.json"
RUNBOOKS = ROOT / "docs/how-to/runbooks.md"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")


def promtool(*arguments: str | Path) -> None:
    ran = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    yield from json.loads(DASHBOARD.read_text())["panels"]


def panel_expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def exposed_names(tmp_path: Path) -> set[str]:
    metrics = Metrics()
    # These have labels that only a running service knows, and GPUs that only some machines have.
    metrics.feedback_published("zmq", succeeded=True)
    metrics.watch_disk("store", tmp_path)
    metrics.registry.register(GpuCollector(lambda: (gpu_reading(),)))
    names: set[str] = set()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        names |= {family.name, *(sample.name for sample in family.samples)}
        if family.type == "counter":
            names.add(f"{family.name}_total")
    return names


@needs_promtool
def test_the_configuration_is_valid():
    promtool("check", "config", "--syntax-only", "prometheus.yml")


@needs_promtool
def test_the_rules_are_valid_and_pass_their_own_tests():
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_each_alert_is_tested_to_fire():
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {check["alertname"] for test in tests for check in test["alert_rule_test"] if check.get("exp_alerts")}
    assert fired == {alert["alert"] for alert in alerts()}


def test_each_alert_has_a_runbook_and_each_runbook_an_alert():
    headings = set(re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE))
    assert headings == {alert["alert"] for alert in alerts()}
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/how-to/runbooks.md#{alert['alert'].lower()}"


def test_alerts_and_panels_name_only_metrics_that_are_exposed(tmp_path: Path):
    named = set(re.findall(r"braggwatch_\w+", "\n".join([*panel_expressions(), *(str(a["expr"]) for a in alerts())])))
    assert named
    assert named - exposed_names(tmp_path) == set()


@needs_promtool
def test_every_panel_expression_is_valid(tmp_path: Path):
    # Grafana fills in its variables; as recording rules promtool parses the rest.
    rules = [
        {"record": f"panel:{n}", "expr": re.sub(r"\$__(rate_interval|range)", "5m", expression)}
        for n, expression in enumerate(panel_expressions())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file)


def test_panels_use_the_provisioned_source_and_do_not_overlap():
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    uids = {one["uid"] for one in source["datasources"]}
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["datasource"]["uid"] in uids
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells

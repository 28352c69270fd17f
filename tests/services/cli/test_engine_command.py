"""``braggwatch engine`` builds, lists and measures on a machine without a GPU, and says plainly what it can't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes import OnnxRuntime, RuntimeCandidate
from braggwatch.models.runtimes.cuda_probe import cuda_problem
from braggwatch.models.runtimes.engine_bench import bench_routes
from braggwatch.models.runtimes.engine_floor import DevicePeak, graph_cost, known_peak
from braggwatch.models.runtimes.tensorrt import TensorRtRuntime
from braggwatch.services.cli import app
from support.production import production_bundle
from support.small_graph import small_graph, volume_bundle, volume_graph
from support.tensorrt_host import HostMemory, HostTensorRt, rtx

runner = CliRunner()


@pytest.fixture
def without_gpu() -> None:
    if cuda_problem() is None:
        pytest.skip("there is a GPU here: these are the answers of a machine without")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the production bundle's engine for one GPU generation."""
    rtx()
    production_bundle()
    folder = tmp_path_factory.mktemp("engines") / "here"
    result = runner.invoke(app, ["engine", "build", "--for", "SM89", "--out", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)["engines"]
    assert record["precision"] == "fp16"
    assert record["key"]["device"] == "SM89"
    assert record["graph_difference"] < 1e-2
    return folder


def test_what_was_built_is_listed_with_whether_it_is_taken_here(engines: Path, without_gpu: None) -> None:
    result = runner.invoke(app, ["engine", "info", "--out", str(engines), "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["device"] is None
    (engine,) = said["engines"]
    assert engine["record"]["bundle"].startswith("cxdp")
    assert "no NVIDIA driver" in engine["problem"]
    routes = {one["route"]: one["problem"] for one in said["routes"]}
    assert routes["onnxruntime-cpu"] is None
    assert routes["tensorrt-rtx"] is not None


def test_a_damaged_engine_is_listed_as_such(engines: Path, tmp_path: Path) -> None:
    for path in engines.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (plan,) = tmp_path.glob("*.plan")
    plan.write_bytes(plan.read_bytes()[:-1])
    tmp_path.chmod(0o700)
    result = runner.invoke(app, ["engine", "info", "--out", str(tmp_path), "--json"])
    assert "SHA-256" in json.loads(result.stdout)["engines"][0]["problem"]


def test_tables_for_people_hold_the_same(engines: Path) -> None:
    result = runner.invoke(app, ["engine", "info", "--out", str(engines)], env={"COLUMNS": "200"})
    assert "SM89" in result.stdout
    assert "onnxruntime-cpu" in result.stdout
    empty = runner.invoke(app, ["engine", "info", "--out", str(engines / "nowhere")])
    assert empty.exit_code == 0
    assert "no engines in" in empty.stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--bundle", "nobody"], 3, "no bundle goes by"),
        (["--for", "SM12345"], 3, "doesn't build for SM12345"),
        (["--flavour", "tensorrt", "--for", "SM89"], 3, "full TensorRT builds for the GPU here only"),
    ],
)
def test_what_can_not_be_built_is_said_with_its_exit_code(
    options: list[str], code: int, words: str, tmp_path: Path
) -> None:
    rtx()
    result = runner.invoke(app, ["engine", "build", "--out", str(tmp_path / "e"), *options])
    assert result.exit_code == code
    assert words in result.stderr


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path) -> None:
    rtx()
    production_bundle()
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    result = runner.invoke(app, ["engine", "build", "--for", "SM89", "--out", str(folder)])
    assert result.exit_code == 1
    assert "written by others" in result.stderr


def test_the_bench_measures_what_is_here_and_names_what_is_not(without_gpu: None) -> None:
    production_bundle()
    routes = [word for name in ("onnxruntime-cpu", "tensorrt-rtx", "torch-cuda") for word in ("--route", name)]
    result = runner.invoke(app, ["engine", "bench", "--repeats", "1", "--batch", "2", "--json", *routes])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    routes = {one["route"]: one for one in said["routes"]}
    assert routes["onnxruntime-cpu"]["host"]["p50_ms"] > 0
    assert routes["onnxruntime-cpu"]["throughput_per_s"] > 0
    assert routes["onnxruntime-cpu"]["same_classes"] is True
    assert routes["onnxruntime-cpu"]["device_in_problem"] == "runs on the processor"
    assert routes["tensorrt-rtx"]["problem"]
    assert routes["torch-cuda"]["problem"]
    one, many = said["floor"]
    assert many["flops"] == 2 * one["flops"]
    assert one["seconds"] is None
    assert len(routes) == 3
    other = runner.invoke(app, ["engine", "bench", "--route", "abacus"])
    assert other.exit_code == 3
    assert "onnxruntime-cpu" in other.stderr


def test_routes_are_measured_in_turns_and_a_wrong_one_is_named() -> None:
    bundle = volume_bundle()
    turns: list[tuple[int, int]] = []

    def engine(shift: float):
        def opens(one: Bundle, _: int) -> TensorRtRuntime:
            api = HostTensorRt(one.model, (1, 8), shifts=(shift,))
            return TensorRtRuntime(api, b"ftrt", (1, 8), HostMemory())

        return opens

    results = bench_routes(
        bundle,
        (
            RuntimeCandidate("onnxruntime-cpu", lambda: None, lambda b, t: OnnxRuntime(b.model, t)),
            RuntimeCandidate("tensorrt", lambda: None, engine(0.0)),
            RuntimeCandidate("wrong", lambda: None, engine(1.0)),
            RuntimeCandidate("absent", lambda: "no such device", engine(0.0)),
        ),
        repeats=5,
        batch=20,
        progress=lambda done, total: turns.append((done, total)),
    )
    cpu, engine_result, wrong, absent = results
    assert cpu.host is not None
    assert cpu.host.runs == 5
    assert cpu.host.p50_ms <= cpu.host.p99_ms
    assert engine_result.throughput_per_s is not None
    assert engine_result.golden_difference is not None
    assert wrong.problem is not None
    assert "golden logits" in wrong.problem
    assert absent.problem == "no such device"
    assert turns == [(turn, 5) for turn in range(1, 6)]


def test_the_floor_counts_what_a_pencil_counts() -> None:
    # 8³ voxels, 4 kernels of 3³; dense layer 4 to 3; counts in, 3 + 3 + 4 numbers out.
    cost = graph_cost(volume_graph(edge=8, channels=4), batch=5)
    assert cost.flops == 5 * 2 * (8**3 * 4 * 27 + 4 * 3)
    weights = 4 * (4 * 27 + 12 + 1) + 8 * (1 + 3 + 3)
    assert cost.bytes == 5 * 4 * (8**3 + 10) + weights
    assert graph_cost(small_graph(), 1).flops > 0


def test_the_floor_is_the_longer_of_computing_and_moving() -> None:
    cost = graph_cost(volume_graph(), 1)
    assert DevicePeak(1e30, 1.0).floor_s(cost) == pytest.approx(cost.bytes)
    assert DevicePeak(1.0, 1e30).floor_s(cost) == pytest.approx(cost.flops)
    assert known_peak("NVIDIA H200") is not None
    assert known_peak("Abacus 9000") is None

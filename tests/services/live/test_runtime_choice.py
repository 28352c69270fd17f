"""What runs the model is chosen in the settings, and the doctor says what could."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from pydantic import ValidationError

from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.runtimes import RuntimeUnavailableError, open_runtime
from braggwatch.models.runtimes.cuda_probe import CudaDevice, cuda_problem
from braggwatch.models.runtimes.factory import CANDIDATES, RuntimePreference, standing_in
from braggwatch.models.runtimes.openvino import probe_openvino
from braggwatch.services.doctor import CheckResult, Status, examine
from braggwatch.services.settings import ScreeningSettings, Settings
from support.production import production_bundle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(production_bundle())


def checks(settings: Settings, *names: str) -> dict[str, CheckResult]:
    found: dict[str, CheckResult] = {}
    for one in examine(settings):
        if one.name in names:
            found[one.name] = one
        if len(found) == len(names):
            break
    return found


@pytest.fixture
def no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braggwatch.services.doctor._CONNECT_S", 0.01)


def test_every_runtime_can_be_named_in_the_settings() -> None:
    for candidate in CANDIDATES:
        assert ScreeningSettings.model_validate({"runtime": candidate.name}).runtime == candidate.name
    with pytest.raises(ValidationError, match="onnxruntime-cpu"):
        ScreeningSettings.model_validate({"runtime": "abacus"})


def test_without_a_gpu_the_embedded_runtime_is_the_default(bundle: Bundle) -> None:
    if cuda_problem() is None:
        pytest.skip("there is a GPU")
    runtime, _ = open_runtime(bundle, Settings().screening.runtime)
    assert runtime.name == "onnxruntime-cpu"


def test_openvino_runs_where_it_is_named(bundle: Bundle) -> None:
    if (reason := probe_openvino()) is not None:
        pytest.skip(reason)
    runtime, difference = open_runtime(bundle, "openvino-cpu")
    assert runtime.name == "openvino-cpu"
    assert difference < bundle.manifest.golden_tolerance


def test_a_named_runtime_is_never_replaced(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braggwatch.models.runtimes.openvino.find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailableError, match=r"braggwatch\[openvino\]"):
        open_runtime(bundle, "openvino-cpu")


@pytest.mark.parametrize(
    ("prefer", "name", "gpu", "fallback"),
    [
        ("auto", "onnxruntime-cpu", True, True),
        ("auto", "onnxruntime-cpu", False, False),
        ("auto", "tensorrt", True, False),
        ("onnxruntime-cpu", "onnxruntime-cpu", True, False),
    ],
)
def test_the_processor_stands_in_only_where_a_gpu_was_there_to_be_chosen(
    monkeypatch: pytest.MonkeyPatch, prefer: RuntimePreference, name: str, gpu: bool, fallback: bool
) -> None:
    monkeypatch.setattr("braggwatch.models.runtimes.factory.cuda_problem", lambda: None if gpu else "no driver")
    assert (standing_in(prefer, name) is not None) is fallback


@pytest.mark.usefixtures("no_stream")
def test_the_doctor_says_what_can_run_and_why_the_others_cannot() -> None:
    if cuda_problem() is None:
        pytest.skip("there is a GPU")
    found = checks(Settings(), "runtimes", "accelerator")
    assert found["runtimes"].status is Status.OK
    able, *unable = found["runtimes"].finding.split("; ")
    assert "onnxruntime-cpu" in able
    assert {line.split(":")[0] for line in unable} >= {"tensorrt", "onnxruntime-cuda"}
    assert found["accelerator"].status is Status.OK


@pytest.mark.usefixtures("no_stream")
def test_the_doctor_fails_where_the_named_runtime_cannot_run() -> None:
    if cuda_problem() is None:
        pytest.skip("there is a GPU")
    settings = Settings(screening=ScreeningSettings(runtime="onnxruntime-cuda"))
    found = checks(settings, "runtimes", "model")
    assert found["runtimes"].status is Status.FAIL
    assert "the requested runtime onnxruntime-cuda can't run" in found["runtimes"].finding
    assert "onnxruntime-cpu" in str(found["runtimes"].advice)
    assert found["model"].status is Status.FAIL


@pytest.mark.usefixtures("no_stream")
def test_the_doctor_warns_of_a_gpu_that_nothing_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_cpu = tuple(one for one in CANDIDATES if "-cpu" in one.name)
    monkeypatch.setattr("braggwatch.models.runtimes.factory.CANDIDATES", on_the_cpu)
    device = CudaDevice("NVIDIA H200", (9, 0), "580.1, CUDA 13.0")
    monkeypatch.setattr("braggwatch.models.runtimes.cuda_probe.find_device", lambda: device)
    found = checks(Settings(), "accelerator")["accelerator"]
    assert found.status is Status.WARN
    assert "NVIDIA H200" in found.finding


@pytest.mark.usefixtures("no_stream")
def test_the_doctor_tells_a_driver_that_cannot_start_from_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> CudaDevice:
        raise RuntimeUnavailableError("the NVIDIA driver can't start: no CUDA-capable device is detected")

    version = tmp_path / "version"
    version.touch()
    monkeypatch.setattr("braggwatch.models.runtimes.cuda_probe.find_device", refuse)
    monkeypatch.setattr("braggwatch.services.doctor._NVIDIA_DRIVER", version)
    found = checks(Settings(), "accelerator")["accelerator"]
    assert found.status is Status.WARN
    assert "no CUDA-capable device" in found.finding
    assert "--gpus all" in str(found.advice)


@pytest.mark.usefixtures("no_stream")
@pytest.mark.parametrize(
    ("installed", "status"),
    [
        ({"onnxruntime"}, Status.OK),
        ({"onnxruntime-gpu"}, Status.OK),
        ({"onnxruntime", "onnxruntime-gpu"}, Status.WARN),
        (set(), Status.FAIL),
    ],
    # named, since a set's order, and so its text, differs between the processes that share the tests
    ids=["onnxruntime", "onnxruntime-gpu", "both", "neither"],
)
def test_the_doctor_takes_either_onnxruntime_but_not_both(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], status: Status
) -> None:
    def found(name: str) -> str:
        if name.startswith("onnxruntime") and name not in installed:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr("braggwatch.services.doctor.version", found)
    assert checks(Settings(), "packages")["packages"].status is status

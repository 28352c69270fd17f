"""Every command teaches, answers scripts in JSON, and fails with one clear line and a documented exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from braggwatch.services.cli import app
from braggwatch.services.importers.hdf5 import Hdf5Options, hdf5_documents
from braggwatch.services.recording.recordings import RecordedDocument, RecordingWriter, read_recording, summarise
from support.quick_bundle import write_quick_registry

COMMANDS = [
    ["demo"],
    ["screen"],
    ["classify"],
    ["record"],
    ["replay"],
    ["inspect"],
    ["doctor"],
    ["import", "34idc"],
    ["models", "list"],
    ["models", "verify"],
]
PROGRAM = [sys.executable, "-m", "braggwatch.services.cli"]
TOTALS_SPEC = """#F a.spec
#E 1580609738
#D Sat Feb 01 20:15:38 2020

#O0 Delta  Theta  Chi  Phi  Gamma  Energy  camdist
#o0 del th chi phi gam en cam

#S 4  ascan  th 0 1  2 0.25
#D Sat Feb 01 21:15:38 2020
#P0 32.174 0.1 90 -5 12.6346 9 500
#N 5
#L Theta  Epoch  Seconds  ImageTot  Monitor
"""


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def fake_run(frames: int = 3) -> list[RecordedDocument]:
    records = [RecordedDocument(0.0, "start", {"uid": "run-1", "time": 1.0, "scan_id": 7, "num_points": frames})]
    key = {"source": "s", "dtype": "array", "shape": [4, 4]}
    descriptor: dict[str, object] = {"uid": "d", "run_start": "run-1", "time": 1.0, "name": "primary"}
    descriptor["data_keys"] = {"img": key}
    records.append(RecordedDocument(0.0, "descriptor", descriptor))
    for i in range(frames):
        event: dict[str, object] = {"uid": f"e{i}", "descriptor": "d", "seq_num": i + 1, "time": 1.0 + i}
        event |= {"data": {"img": np.ones((4, 4), np.int32)}, "timestamps": {"img": 1.0 + i}, "filled": {}}
        records.append(RecordedDocument(0.01 * i, "event", event))
    stop: dict[str, object] = {"uid": "s", "run_start": "run-1", "time": 9.0, "exit_status": "success"}
    stop["num_events"] = {"primary": frames}
    records.append(RecordedDocument(0.05, "stop", stop))
    return records


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.bwrec"
    with RecordingWriter(path, source="test") as writer:
        for item in fake_run():
            writer.write(item)
    return path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_quick_registry(tmp_path_factory.mktemp("registry"))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_teaches_by_example(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    text = " ".join(result.output.replace("│", " ").split())
    assert f"braggwatch {' '.join(command)}" in text
    assert "Example" in text
    assert "Exit codes" in text


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from braggwatch.services.cli import app\n"
        "heavy = {'numpy', 'zmq', 'bluesky', 'torch', 'numba', 'onnxruntime', 'fastapi', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_loads_torch() -> None:
    code = (
        "import sys\n"
        "import braggwatch.services.serving, braggwatch.services.demo.whole_system\n"
        "import braggwatch.services.recording.replay, braggwatch.services.cxdp.recorded_runs\n"
        "import braggwatch.services.recording.recorder, braggwatch.services.doctor\n"
        "assert not {'torch', 'tensorrt', 'cupy', 'ophyd'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("braggwatch")


def test_inspect_in_json(recording: Path) -> None:
    result = run("inspect", str(recording), "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["runs"] == ["run-1"]
    assert summary["by_name"]["event"] == 3
    assert not summary["truncated"]
    (contents,) = summary["contents"]
    (stream,) = contents["streams"]
    assert (contents["run_uid"], stream["name"], stream["events"]) == ("run-1", "primary", 3)
    plain = run("inspect", str(recording))
    assert plain.exit_code == 0
    assert all(key["name"] in plain.stdout for key in stream["keys"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "absent.bwrec"],
        ["replay", "absent.bwrec"],
        ["classify", "absent.bwrec"],
        ["import", "34idc", "absent.spec", "--scan", "1", "--frames", ".", "-o", "x.bwrec"],
        ["classify", "absent.bwrec", "--geometry", "nowhere"],
        ["doctor", "--config", "absent.toml"],
        ["screen", "--config", "absent.toml"],
    ],
    ids=" ".join,
)
def test_a_bad_input_is_one_clear_line_and_code_3(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--speed", "fast"], 3),
        (["--frames", "9:1"], 3),
        (["--root", "a=b"], 3),
        (["--serializer", "json"], 3),
        (["--repeat", "2"], 2),
        (["--repeat", "0"], 2),
        (["--to", "127.0.0.1:9", "--wait", "0.2"], 4),
    ],
)
def test_replay_says_what_is_wrong(recording: Path, arguments: list[str], code: int) -> None:
    assert run("replay", str(recording), *arguments).exit_code == code


def test_record_says_that_nobody_answers(tmp_path: Path) -> None:
    result = run("record", str(tmp_path / "b.bwrec"), "--from", "127.0.0.1:9", "--wait", "0.3")
    assert result.exit_code == 4
    assert "is the proxy running" in result.stderr


def test_what_is_replayed_is_recorded_byte_for_byte(shared_proxy, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.bwrec"
    recorder = subprocess.Popen(
        [*PROGRAM, "record", str(out), "--from", shared_proxy.out_address, "--runs", "3", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        results: list[int] = []
        deadline = time.monotonic() + 60
        # The recorder's subscription is known to the proxy alone, so the first replays may find nobody.
        while recorder.poll() is None and time.monotonic() < deadline:
            arguments = ["--to", shared_proxy.in_address, "--speed", "max", "--new-uids", "--json"]
            results.append(run("replay", str(recording), *arguments).exit_code)
            time.sleep(0.2)
        report = json.loads(recorder.communicate(timeout=10)[0])
    finally:
        recorder.kill()
        recorder.wait()
    assert set(results) == {0}
    assert recorder.returncode == 0
    assert report["runs_finished"] == 3
    assert report["lost"] == report["rejected"] == 0
    assert summarise(out).by_name == {"start": 3, "descriptor": 3, "event": 9, "stop": 3}
    frames = [r.document["data"]["img"] for r in read_recording(out) if r.name == "event"]  # type: ignore[index]
    assert all(f.dtype == np.int32 and (f == 1).all() for f in frames)


def test_a_recorder_that_is_told_to_stop_closes_its_file(shared_proxy, tmp_path: Path) -> None:
    out = tmp_path / "night.bwrec"
    recorder = subprocess.Popen([*PROGRAM, "record", str(out), "--from", shared_proxy.out_address])
    try:
        deadline = time.monotonic() + 30
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(20) == 0
    finally:
        recorder.kill()
        recorder.wait()
    assert not summarise(out).truncated


def test_import_reports_origins_in_json(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    text = TOTALS_SPEC
    for i in range(3):
        tifffile.imwrite(frames / f"a_S0004_{i:05d}.tif", np.full((4, 4), i, np.int32))
        text += f"{0.5 * i} {10 + i} 0.25 {16 * i} 1000\n"
    (tmp_path / "a.spec").write_text(text)
    arguments = ["--scan", "4", "--frames", str(frames), "-o", str(tmp_path / "o.bwrec"), "--json"]
    result = run("import", "34idc", str(tmp_path / "a.spec"), *arguments, "--set", "energy=9.5")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["frames"] == 3
    assert report["signals"]["energy"] == 9.5
    assert report["origins"]["energy"] == "stated by the user at import"
    assert report["origins"]["delta"].startswith("SPEC motor Delta")
    again = run("import", "34idc", str(tmp_path / "a.spec"), *arguments)
    assert again.exit_code == 3
    assert "already exists" in again.stderr
    for wrong in ("energy", "energy=", "energy=abc", "=9"):
        assert run("import", "34idc", str(tmp_path / "a.spec"), *arguments, "--set", wrong).exit_code == 3


def test_models_list_and_verify(registry: Path) -> None:
    listed = json.loads(run("models", "list", "--registry", str(registry), "--json").stdout)
    assert listed["bundles"] == ["quick/1.0.0"]
    assert listed["aliases"] == {"production": "quick/1.0.0"}
    sound = run("models", "verify", "production", "--registry", str(registry), "--json")
    assert sound.exit_code == 0
    assert json.loads(sound.stdout)["reports"][0]["ok"] is True
    assert run("models", "verify", "nobody", "--registry", str(registry)).exit_code == 1


def test_no_bundle_at_all_is_not_sound(tmp_path: Path) -> None:
    assert run("models", "verify", "--registry", str(tmp_path)).exit_code == 1


def write_config(folder: Path, registry: Path, address: str = "127.0.0.1:9") -> Path:
    path = folder / "braggwatch.toml"
    path.write_text(
        f'[stream]\naddress = "{address}"\n[screening]\nregistry = "{registry}"\ngeometry = "simulated"\n'
        f'[store]\npath = "{folder / "r.sqlite"}"\n[page]\nport = 0\n'
    )
    return path


def test_doctor_names_each_part_and_what_to_do(shared_proxy, registry: Path, tmp_path: Path) -> None:
    well = run("doctor", "--json", "-c", str(write_config(tmp_path, registry, shared_proxy.out_address)))
    checks = {check["name"]: check for check in json.loads(well.stdout)["checks"]}
    assert {name: check["status"] for name, check in checks.items() if check["status"] == "FAIL"} == {}
    assert well.exit_code == 0
    ill = run("doctor", "--json", "-c", str(write_config(tmp_path, tmp_path / "nothing")))
    assert ill.exit_code == 1
    failed = {check["name"]: check for check in json.loads(ill.stdout)["checks"] if check["status"] == "FAIL"}
    assert set(failed) == {"stream", "model"}
    assert all(check["advice"] for check in failed.values())
    assert run("doctor", "-c", str(write_config(tmp_path, registry, shared_proxy.out_address))).exit_code == 0


def test_doctor_reads_a_recording_and_says_what_fits(recording: Path, registry: Path, tmp_path: Path) -> None:
    config = str(write_config(tmp_path, registry))
    said = json.loads(run("doctor", "--json", "-c", config, "--from", str(recording)).stdout)
    checks = {check["name"]: check for check in said["checks"]}
    assert "stream" not in checks
    assert checks["documents"]["finding"].startswith("run run-1")
    (contents,) = said["runs"]
    keys = {key["name"] for stream in contents["streams"] for key in stream["keys"]}
    detector = checks["detector_field"]
    if "det_image" in keys:
        assert detector["finding"].startswith("det_image: stream primary")
    else:
        assert (detector["status"], detector["finding"]) == ("FAIL", "det_image: missing")
        assert "no key 'det_image'" in detector["advice"]
    assert checks["geometry"]["status"] == "OK"
    wrong = json.loads(run("doctor", "--json", "-c", config, "--from", str(recording), "--geometry", "34idc").stdout)
    missing = next(check for check in wrong["checks"] if check["name"] == "detector_field")
    assert missing["finding"] == "34idcTIM2_image: missing"
    assert run("doctor", "-c", config, "--from", str(recording)).exit_code in (0, 1)


def peak_file(folder: Path) -> Path:
    """A rocking curve of a Gaussian peak at the simulated beamline's Bragg angle, in an HDF5 file."""
    axes = [(np.arange(n) - n / 2) for n in (61, 256, 256)]
    widths = (1.7, 9.0, 9.0)
    profile = [np.exp(-0.5 * (axis / width) ** 2) for axis, width in zip(axes, widths, strict=True)]
    frames = np.random.default_rng(3).poisson(3e3 * np.einsum("i,j,k->ijk", *profile))
    path = folder / "peak.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data", data=frames.astype("u4"), compression="gzip", compression_opts=1)
        file["entry/th"] = 17.0 + 0.03 * axes[0]
        file["entry/energy"] = 9.0
    return path


def test_classify_a_foreign_hdf5_file(registry: Path, tmp_path: Path) -> None:
    path = peak_file(tmp_path)
    picture = tmp_path / "slices.png"
    config = write_config(tmp_path, registry)
    arguments = [str(path), "-c", str(config), "--frames", "/entry/data", "--angles", "/entry/th"]
    arguments += ["--read", "energy=/entry/energy", "--set", "gamma=0", "--set", "detector_distance=1.0"]
    stated = [*arguments, "--set", "delta=34.03"]
    result = run("classify", *stated, "--picture", str(picture), "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["frames_received"] == 61
    assert record["quality"]["d_spacing_A"] == pytest.approx(2.3545, rel=0.01)
    from PIL import Image

    with Image.open(picture) as image:
        assert image.size == (3 * 256 + 2 * 4, 256)
        image.verify()
    assert run("classify", *stated).exit_code == 0
    # The reflection, stated, says which Burgers directions the verdict speaks of.
    seen = json.loads(run("classify", *stated, "--hkl", "1 -1 1", "--json").stdout)["burgers"]
    assert (seen["hkl"], seen["origin"]) == ([1, -1, 1], "start:hkl")
    assert len(seen["seen"]) == len(seen["blind"]) == 3
    # A peak that isn't where the stated reflection must be gets no class.
    for wrong in (["--set", "delta=33"], ["--set", "delta=34.03", "--hkl", "2 0 0"]):
        contradicted = run("classify", *arguments, *wrong, "--json")
        said = json.loads(contradicted.stdout)
        assert (contradicted.exit_code, said["verdict"]["outcome"]) == (1, "invalid")
        assert "contradicts the stated reflection" in said["verdict"]["reason"]
        assert abs(said["quality"]["d_deviation"]) > 0.02
    refused = run("classify", *stated, "--hkl", "one")
    assert (refused.exit_code, "three whole numbers" in refused.output) == (2, True)
    # A geometry value that is nowhere is never guessed.
    unstated = run("classify", *arguments, "--json")
    assert unstated.exit_code == 1
    assert "delta" in json.loads(unstated.stdout)["verdict"]["reason"]


def test_a_foreign_hdf5_file_can_be_written_while_it_is_read(tmp_path: Path) -> None:
    path = peak_file(tmp_path)
    options = Hdf5Options(
        file=path, frames="/entry/data", angles="/entry/th", detector_field="det", scanned="th", stated={"energy": 9.0}
    )
    documents = hdf5_documents(options)
    assert next(documents).name == "start"
    append = "import h5py, sys; h5py.File(sys.argv[1], 'a').create_group('next')"
    subprocess.run([sys.executable, "-c", append, str(path)], check=True)
    assert sum(document.name == "event" for document in documents) >= 61


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--frames", "/entry/nothing"), "no dataset"),
        (("--frames", "/entry/th"), "not (N, rows, columns)"),
        (("--angles", "/entry/energy"), "but there are 61 frames"),
        (("--read", "energy=/entry/th"), "needs one"),
    ],
)
def test_a_wrong_dataset_is_named(registry: Path, tmp_path: Path, change: tuple[str, str], message: str) -> None:
    options = {"--frames": "/entry/data", "--angles": "/entry/th", "--read": "energy=/entry/energy"}
    options[change[0]] = change[1]
    flat = [part for pair in options.items() for part in pair]
    result = run("classify", str(peak_file(tmp_path)), "-c", str(write_config(tmp_path, registry)), *flat)
    assert result.exit_code == 3
    assert message in result.stderr


def test_an_hdf5_file_without_datasets_is_told_so(registry: Path, tmp_path: Path) -> None:
    result = run("classify", str(peak_file(tmp_path)), "-c", str(write_config(tmp_path, registry)))
    assert result.exit_code == 3
    assert "--frames, --angles" in result.stderr


def test_screen_serves_and_stops_when_asked(shared_proxy, registry: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, registry, shared_proxy.out_address)
    service = subprocess.Popen([*PROGRAM, "screen", "-c", str(config)], stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=lines.extend, args=[service.stderr])
    reader.start()
    try:
        deadline = time.monotonic() + 90
        while not any(line.strip() == "ready" for line in lines) and time.monotonic() < deadline:
            time.sleep(0.1)
        url = next(line.split()[1] for line in lines if line.startswith("page:"))
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            assert b"braggwatch_" in answer.read()
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
    finally:
        service.kill()
        service.wait()
        reader.join(10)
        service.stderr.close()
    assert any(line.strip() == "stopping" for line in lines)


def test_options_win_over_the_settings_file(registry: Path, tmp_path: Path) -> None:
    arguments = ["-c", str(write_config(tmp_path, registry)), "--from", "example:1", "--port", "99", "--print-settings"]
    settings = json.loads(run("screen", *arguments).stdout)
    assert settings["stream"]["address"] == "tcp://example:1"
    assert settings["page"]["port"] == 99
    assert settings["screening"]["geometry"] == "simulated"

"""Frames arrive by three routes and the rocking curve is the same, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import plans as bp
from bluesky import preprocessors as bpp

from braggwatch.callbacks.documents.frame_routes_hdf5 import (
    Hdf5Reader,
    Hdf5Rows,
    PathMap,
    UnusableReference,
)
from braggwatch.callbacks.documents.written_rows import NotReadableYet
from braggwatch.models.verdict import Outcome
from support.hdf5 import dataset

WRITER = """
import h5py, numpy, pathlib, sys
folder = pathlib.Path(sys.argv[1])
with h5py.File(folder / "scan.h5", "w") as file:
    file.create_dataset("/entry/data/data", data=numpy.load(folder / "frames.npy"))
    print("open", flush=True)
    sys.stdin.readline()
print("closed", flush=True)
"""

SLOW_WRITER = """
import h5py, sys
with h5py.File(sys.argv[1], "w") as file:
    file.create_dataset("d", (2, 4, 4), chunks=(1, 4, 4))[0] = 1
    file.flush()
    print("open", flush=True)
    sys.stdin.readline()
    file["d"][1] = 1
"""


def assert_same(curve, scan):
    assert curve.frames.dtype == scan.frames.dtype.newbyteorder("=")
    np.testing.assert_array_equal(curve.frames, scan.frames)
    np.testing.assert_array_equal(curve.angles_deg, scan.angles)
    assert curve.present.all()


@pytest.mark.parametrize(
    "route", ["inline", "inline_page", "resource_datum", "datum_page", "streamed", "streamed_later"]
)
def test_every_route_gives_the_same_curve(route, scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "scan.h5", lead=3 if route == "streamed_later" else 0)
    documents = {
        "inline": scan.inline,
        "inline_page": scan.inline_page,
        "resource_datum": lambda: scan.resource_datum(path),
        "datum_page": lambda: scan.resource_datum(path, paged=True),
        "streamed": lambda: scan.streamed(path),
        "streamed_later": lambda: scan.streamed(path, lead=3),
    }[route]()
    bench.feed(documents)
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED
    assert_same(bench.curve, scan)
    np.testing.assert_array_equal(bench.curve.monitor, scan.monitor)
    assert bench.callback.open_runs == 0
    assert not bench.callback.counters.rejected


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<i4", ">i4", "<i8", "<f4"])
def test_the_dtype_is_the_arrays_own(dtype, scan_of, bench):
    scan = scan_of(dtype=dtype)
    bench.feed(scan.inline())
    assert_same(bench.curve, scan)


def test_double_precision_is_kept_as_single(scan_of, bench):
    bench.feed(scan_of(dtype="<f8").inline())
    assert bench.curve.frames.dtype == np.float32


def test_fly_scan_with_angles_in_another_streams_events(scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "fly.h5")
    angles = [scan.descriptor(keys=("th",), name="positions")]
    angles += [scan.event(i, {"th": float(a)}, name="positions") for i, a in enumerate(scan.angles)]
    bench.feed(scan.fly(path, *angles, num_events={"primary": 21, "positions": 21}))
    assert_same(bench.curve, scan)


def test_fly_scan_with_angles_in_a_file(scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "fly.h5")
    with h5py.File(tmp_path / "panda.h5", "w") as file:
        file["th"] = scan.angles
    keys = scan.descriptor("STREAM:", keys=("th",), name="panda")
    keys[1]["data_keys"]["th"]["external"] = "STREAM:"
    resource = scan.stream_resource(tmp_path / "panda.h5", "th", "th")
    datum = scan.stream_datum(0, 21, "th", name="panda")
    bench.feed(scan.fly(path, keys, resource, datum, num_events={"primary": 21, "panda": 21}))
    assert_same(bench.curve, scan)


def test_fly_scan_with_stated_angles(scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "fly.h5")
    bench.feed(scan.fly(path, fly={"start": -0.3, "stop": 0.3, "num": 21}))
    np.testing.assert_allclose(bench.curve.angles_deg, np.linspace(-0.3, 0.3, 21))
    assert "start:fly" in {origin.origin for origin in bench.result.geometry_origins}


@pytest.mark.parametrize("stated", [None, {"start": 0.0, "stop": 1.0}, {"start": 0.0, "stop": 1.0, "num": 20}, [0, 1]])
def test_fly_scan_without_angles_is_refused_not_guessed(stated, scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "fly.h5")
    documents = scan.fly(path, **({} if stated is None else {"fly": stated}))
    bench.feed(documents).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "fly" in bench.result.verdict.reason
    assert not bench.preprocessor.curves


def test_angles_of_another_length_are_not_joined(scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "fly.h5")
    angles = [scan.descriptor(keys=("th",), name="monitor_th")]
    angles += [scan.event(i, {"th": 0.1 * i}, name="monitor_th") for i in range(5)]
    bench.feed(scan.fly(path, *angles, num_events={"primary": 21, "monitor_th": 5})).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "5 readings for 21 frames" in bench.result.verdict.reason


@pytest.mark.parametrize("readings", [20, 21, 22])
def test_a_monitor_that_happens_to_have_a_reading_a_frame_is_no_readback(readings, scan, bench, tmp_path: Path):
    """Bluesky's monitors read a motor whenever it changes: the n-th reading isn't the n-th frame's."""
    path = scan.write(tmp_path / "fly.h5")
    angles = [scan.descriptor(keys=("th",), name="th_monitor")]
    angles += [scan.event(i, {"th": 0.001 * i**2}, name="th_monitor") for i in range(readings)]
    bench.feed(scan.fly(path, *angles, num_events={"primary": 21, "th_monitor": readings})).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "'th_monitor' is a monitor's" in bench.result.verdict.reason


def test_a_file_that_appears_late_is_read_later(scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "hidden.h5")
    documents = scan.resource_datum(tmp_path / "scan.h5")
    bench.feed(documents)
    assert not bench.reports
    shutil.move(path, tmp_path / "scan.h5")
    bench.wait(1.0)
    assert_same(bench.curve, scan)


def test_a_file_that_never_appears_is_named(scan, bench, tmp_path: Path):
    bench.feed(scan.streamed(tmp_path / "never.h5")).wait(5)
    assert not bench.reports
    bench.wait(6)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "never.h5" in bench.result.verdict.reason


def test_a_file_its_writer_holds_open_is_read_when_closed(scan, bench, tmp_path: Path):
    np.save(tmp_path / "frames.npy", scan.frames)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        bench.feed(scan.resource_datum(tmp_path / "scan.h5"))
        assert not bench.reports
        writer.stdin.write("close\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "closed\n"
    bench.wait(1.0)
    assert_same(bench.curve, scan)


def test_frames_are_read_while_a_swmr_file_grows(scan, bench, tmp_path: Path):
    documents = iter(scan.streamed(tmp_path / "grow.h5"))
    with h5py.File(tmp_path / "grow.h5", "w", libver="latest") as file:
        shape = scan.frames.shape[1:]
        dataset = file.create_dataset(
            "/entry/data/data", (0, *shape), "u2", maxshape=(None, *shape), chunks=(1, *shape)
        )
        file.swmr_mode = True
        written = 0
        for name, doc in documents:
            if name == "stop":
                break
            if name == "stream_datum":
                dataset.resize(written + 1, axis=0)
                dataset[written] = scan.frames[written]
                dataset.flush()
                written += 1
            bench.feed([(name, doc)])
            assert bench.callback.held_bytes > 0 or written == 0 or name == "stream_datum"
        bench.feed([scan.stop()])
        assert_same(bench.curve, scan)


def test_compressed_files_are_read(scan, bench, tmp_path: Path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    path = scan.write(tmp_path / "bitshuffle.h5", **hdf5plugin.Bitshuffle())
    bench.feed(scan.streamed(path))
    assert_same(bench.curve, scan)


def test_roots_are_remapped(scan, bench_of, tmp_path: Path):
    path = scan.write(tmp_path / "scan.h5")
    bench = bench_of(root_map={"/ioc/data": str(tmp_path), "/ioc": "/nowhere"})
    bench.feed(scan.resource_datum(path, root="/ioc/data"))
    assert_same(bench.curve, scan)


def test_several_exposures_a_point_are_summed(scan, bench, tmp_path: Path):
    doubled = np.repeat(scan.frames, 2, axis=0)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["/entry/data/data"] = doubled
    documents = scan.resource_datum(tmp_path / "scan.h5")
    documents[1][1]["resource_kwargs"] = {"frame_per_point": 2}
    bench.feed(documents)
    np.testing.assert_array_equal(bench.curve.frames, 2 * scan.frames.astype(np.uint64))


@pytest.mark.parametrize("swmr", [False, True])
def test_a_writer_is_never_locked_out_by_the_live_reader(swmr, scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The writer opens its file while a row is read from it, and while the reader keeps it."""
    path = scan.write(tmp_path / "scan.h5")
    reader, cut = Hdf5Reader(), Hdf5Reader._cut

    def next_scan() -> None:
        subprocess.run(
            [sys.executable, "-c", "import h5py, sys; h5py.File(sys.argv[1], 'a').close()", path], check=True
        )

    def cut_meanwhile(self, dataset, rows, blank_is_written):
        next_scan()
        return cut(self, dataset, rows, blank_is_written)

    monkeypatch.setattr(Hdf5Reader, "_cut", cut_meanwhile)
    frame = reader.read(Hdf5Rows(path, "/entry/data/data", 1, 1, swmr=swmr))
    np.testing.assert_array_equal(frame, scan.frames[1])
    next_scan()
    reader.close()


def test_rows_that_a_writer_has_not_written_are_not_zeros(tmp_path: Path):
    """The file is whole as far as HDF5 can tell, its second row is still in the writer's memory."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, tmp_path / "slow.h5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        reader = Hdf5Reader()
        for swmr in (False, True):
            with pytest.raises(NotReadableYet, match="writer"):
                reader.read(Hdf5Rows(tmp_path / "slow.h5", "d", 1, 1, swmr=swmr))
        writer.stdin.write("close\n")
        writer.stdin.flush()
        assert writer.wait() == 0
    np.testing.assert_array_equal(reader.read(Hdf5Rows(tmp_path / "slow.h5", "d", 1, 1, swmr=True)), np.ones((4, 4)))
    reader.close()


def test_paths_outside_the_allowed_roots_are_refused(tmp_path: Path):
    paths = PathMap({}, (str(tmp_path / "data"),))
    assert paths.local(str(tmp_path / "data" / "a.h5")) == tmp_path / "data" / "a.h5"
    for bad in ("/etc/passwd", str(tmp_path / "data" / ".." / "b.h5")):
        with pytest.raises(UnusableReference, match="allowed"):
            paths.local(bad)
    with pytest.raises(UnusableReference, match="only file"):
        paths.from_uri("file://elsewhere/data/a.h5")


def test_rows_not_written_yet_are_not_zeros(tmp_path: Path):
    with h5py.File(tmp_path / "short.h5", "w") as file:
        file["d"] = np.ones((2, 4, 4))
    reader = Hdf5Reader()
    with pytest.raises(NotReadableYet, match="2 of 3"):
        reader.read(Hdf5Rows(tmp_path / "short.h5", "d", 2, 1, swmr=False))
    reader.close()


@pytest.mark.parametrize("spec", ["AD_TIFF", "NPY_SEQ"])
def test_an_unknown_kind_of_resource_is_named(spec, scan, bench, tmp_path: Path):
    documents = scan.resource_datum(scan.write(tmp_path / "scan.h5"))
    documents[1][1]["spec"] = spec
    bench.feed(documents).wait(60)
    assert spec in bench.result.verdict.reason


@pytest.mark.parametrize("value", ["text", [[1, 2], [3]], np.zeros((3, 3), complex), np.zeros(5), np.array([[None]])])
def test_what_is_no_frame_makes_the_run_invalid(value, scan, bench):
    documents = scan.inline()
    documents[4][1]["data"]["det"] = value
    bench.feed(documents).wait(60)
    assert bench.result.verdict.outcome in (Outcome.INVALID, Outcome.PARTIAL)


def test_ophyd_async_step_and_fly_scans_from_a_real_run_engine(
    run_engine: RunEngine, preset_with, bench_of, tmp_path: Path
):
    from ophyd_async.core import StaticPathProvider, TriggerInfo, UUIDFilenameProvider, init_devices
    from ophyd_async.sim import SimBlobDetector, SimMotor

    bench = bench_of(preset_with(monitor_field=None, energy_keV=9.0, detector_circles=(), direct_beam_angles_deg=()))
    with init_devices():
        det = SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), tmp_path))
        th = SimMotor(instant=True)
    run_engine.subscribe(bench.callback)
    run_engine(bp.scan([det], th, -0.5, 0.5, 5))
    step = bench.result
    assert step.verdict.outcome is Outcome.CLASSIFIED, step.verdict.reason
    np.testing.assert_allclose(bench.curve.angles_deg, np.linspace(-0.5, 0.5, 5))
    assert bench.curve.frames.shape == (5, 240, 320)

    @bpp.stage_decorator([det])
    @bpp.run_decorator(md={"fly": {"start": -0.5, "stop": 0.5, "num": 5}})
    def fly():
        yield from bps.prepare(det, TriggerInfo(number_of_events=5, livetime=0.01, deadtime=0.01), wait=True)
        yield from bps.declare_stream(det, name="fly", collect=True)
        yield from bps.kickoff(det, wait=True)
        yield from bps.complete(det, wait=True)
        yield from bps.collect(det, return_payload=False, name="fly")

    bench.reports.clear()
    run_engine(fly())
    bench.wait(60)
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED, bench.result.verdict.reason
    with h5py.File(max(tmp_path.glob("*.h5"), key=lambda path: path.stat().st_mtime_ns)) as file:
        np.testing.assert_array_equal(bench.curve.frames, dataset(file, "/entry/data/data")[:])

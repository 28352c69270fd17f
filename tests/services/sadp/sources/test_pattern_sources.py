"""Pictures from a folder and frames from a Merlin detector, published as runs of diffraction patterns."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import event_model
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from braggwatch.callbacks.documents.document_checks import check
from braggwatch.callbacks.sadp.judging import PatternModel
from braggwatch.callbacks.sadp.pattern_callback import PatternCallback
from braggwatch.callbacks.sadp.records import PatternReport
from braggwatch.services.sadp.sources.folder_watch import JOURNAL_FILE, FolderWatch, WatchOptions
from braggwatch.services.sadp.sources.merlin_run import publish_merlin
from braggwatch.services.sadp.sources.merlin_stream import (
    Acquisition,
    MerlinConnection,
    MerlinError,
    MerlinFrame,
    MessageReader,
)
from braggwatch.services.sadp.sources.pattern_documents import PatternRunWriter, PatternSource
from support.patterns import QuickJudge, net, noisy

SOURCE = PatternSource(inv_nm_per_px=0.1, sample="foil", origin="test")


class Documents(list[tuple[str, dict[str, Any]]]):
    """Takes documents as a publisher does."""

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        check(name, document)
        self.append((name, document))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [document["data"] for name, document in self if name == "event"]


class Watched:
    """A watch of a folder with a clock to turn."""

    def __init__(self, folder: Path, **options) -> None:
        self.now = 0.0
        self.documents = Documents()
        self.writer = PatternRunWriter(self.documents, SOURCE)
        chosen = WatchOptions.model_validate({"settle_s": 1.0} | options)
        self.watch = FolderWatch(folder, chosen, clock=lambda: self.now)

    def look(self, after_s: float = 0.0) -> list[str]:
        """Let time pass, look once; return the names published."""
        self.now += after_s
        before = len(self.documents.events)
        self.watch.step(self.writer)
        return [event["name"] for event in self.documents.events[before:]]


def write(path: Path, frame: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, net() if frame is None else frame)
    return path


def test_a_picture_is_published_once_it_stands_still(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    write(tmp_path / "a.tif")
    assert watched.look() == []
    assert watched.look(0.9) == []
    assert watched.look(0.2) == ["a.tif"]
    assert watched.look(5.0) == []
    assert np.array_equal(watched.documents.events[0]["pattern"], net())


def test_a_file_still_being_written_waits_and_is_not_read_in_part(tmp_path: Path) -> None:
    whole = write(tmp_path / "elsewhere" / "whole.tif").read_bytes()
    folder = tmp_path / "session"
    folder.mkdir()
    watched = Watched(folder)
    growing = folder / "slow.tif"
    for part in range(1, 5):
        growing.write_bytes(whole[: len(whole) * part // 5])
        assert watched.look(0.7) == []
    assert watched.look(2.0) == []
    growing.write_bytes(whole)
    assert watched.look() == []
    assert watched.look(1.1) == ["slow.tif"]


def test_a_file_that_stays_unreadable_is_given_up_and_told_and_taken_once_mended(tmp_path: Path) -> None:
    watched = Watched(tmp_path, give_up_s=10.0)
    (tmp_path / "bad.tif").write_bytes(b"II*\0nothing")
    write(tmp_path / "good.tif")
    watched.look()
    assert watched.look(2.0) == ["good.tif"]
    assert watched.watch.report.given_up == {}
    watched.look(9.0)
    assert set(watched.watch.report.given_up) == {"bad.tif"}
    write(tmp_path / "bad.tif")
    watched.look()
    assert watched.look(2.0) == ["bad.tif"]
    assert watched.watch.report.given_up == {}


def test_started_again_it_goes_on_with_what_is_new_or_changed(tmp_path: Path) -> None:
    first = Watched(tmp_path)
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif")
    first.look()
    assert sorted(first.look(2.0)) == ["a.tif", "b.tif"]
    again = Watched(tmp_path)
    write(tmp_path / "c.tif")
    os.utime(write(tmp_path / "b.tif", net(30.0)), ns=(1, 1))
    again.look()
    assert sorted(again.look(2.0)) == ["b.tif", "c.tif"]


def test_a_journal_cut_short_by_a_crash_repeats_one_file(tmp_path: Path) -> None:
    first = Watched(tmp_path)
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif")
    first.look()
    first.look(2.0)
    journal = tmp_path / JOURNAL_FILE
    journal.write_bytes(journal.read_bytes()[:-10])
    again = Watched(tmp_path)
    again.look()
    assert len(again.look(2.0)) == 1
    assert len(journal.read_text().splitlines()) == 2
    journal.write_text("nonsense\n")
    with pytest.raises(ValueError, match="repair or remove"):
        Watched(tmp_path)


def test_names_say_particle_visit_and_zone(tmp_path: Path) -> None:
    pattern = r"(?P<particle>grain\d+)_(?P<visit>\d+)_z(?P<zone>\d{3})"
    watched = Watched(tmp_path, name_pattern=pattern)
    write(tmp_path / "grain7_3_z013.tif")
    write(tmp_path / "left" / "plain.tif")
    watched.look()
    watched.look(2.0)
    facts = {e["name"]: (e["particle"], e["zone_visit"], e["zone"]) for e in watched.documents.events}
    assert facts == {"grain7_3_z013.tif": ("grain7", "3", "013"), "plain.tif": ("left", "", "")}
    with pytest.raises(ValueError, match="particle, visit or zone"):
        WatchOptions(name_pattern="(?P<grain>.*)")


def test_pictures_of_any_shape_are_judged_from_the_documents(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    write(tmp_path / "a.tif", net())
    write(tmp_path / "b.tif", net(22.0, 2, 160))
    write(tmp_path / "c.tif", np.stack([net(), noisy(net(), 1)]))
    watched.look()
    watched.look(2.0)
    watched.writer.close()
    reports = []
    callback = PatternCallback(PatternModel(QuickJudge(), 0.9), reports.append)
    for name, document in watched.documents:
        callback(name, document)
    patterns = [report.result for report in reports if isinstance(report, PatternReport)]
    assert [pattern.set_aside for pattern in patterns] == [None] * 4
    assert {pattern.particle for pattern in patterns} == {"foil"}
    assert reports[-1].result.ending == "complete"


# Merlin


def mib(number: int, frame: np.ndarray) -> bytes:
    """One frame in the MIB form, header of 384 bytes as single-chip detectors write it."""
    rows, columns = frame.shape
    header = f"MQ1,{number:06d},00384,01,{columns:04d},{rows:04d},U16,   1x1,01,2026-11-21 10:00:00.000000,0.001,0,0,0,"
    return header.encode().ljust(384, b"\0") + frame.astype(">u2").tobytes()


def hdr(frames: int) -> bytes:
    return f"HDR,\nFrames in Acquisition (Number):\t{frames}\nFrames per Trigger (Number):\t1\nEnd\t".encode()


def message(payload: bytes) -> bytes:
    return b"MPX,%010d," % (len(payload) + 1) + payload


FRAMES = [noisy(net(), n) for n in range(4)]
STREAM = message(hdr(4)) + b"".join(message(mib(n + 1, frame)) for n, frame in enumerate(FRAMES))


@given(
    cuts=st.lists(st.integers(0, len(STREAM)), max_size=12),
    noise=st.binary(max_size=60).filter(lambda b: b"M" not in b),
)
def test_messages_come_whole_however_the_bytes_are_cut(cuts, noise) -> None:
    data = noise + STREAM
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = MessageReader()
    payloads = [p for a, b in pairwise(places) for p in reader.feed(data[a:b])]
    assert payloads == [hdr(4), *[mib(n + 1, frame) for n, frame in enumerate(FRAMES)]]
    assert reader.skipped_bytes == len(noise)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data) -> None:
    reader = MessageReader()
    with contextlib.suppress(MerlinError):
        payloads = list(reader.feed(message(hdr(1)) + data))
        assert payloads[0] == hdr(1)


def test_an_acquisition_is_a_visit_and_missing_frames_are_counted() -> None:
    documents = Documents()
    seen = [Acquisition(3)] + [MerlinFrame(n, net()) for n in (1, 3)] + [Acquisition(2), MerlinFrame(1, net())]
    report = publish_merlin(seen, documents, SOURCE)
    assert (report.acquisitions, report.frames, report.published, report.missing) == (2, 3, 3, 2)
    assert [event["zone_visit"] for event in documents.events] == ["1", "1", "2"]
    assert documents[-1][1]["exit_status"] == "success"


def test_each_so_manieth_frame_and_so_many_acquisitions() -> None:
    documents = Documents()
    seen = [Acquisition(4), *[MerlinFrame(n, net()) for n in range(1, 5)]] * 3
    report = publish_merlin(seen, documents, SOURCE, every=2, acquisitions=2)
    assert (report.acquisitions, report.frames, report.published, report.missing) == (2, 8, 4, 0)


def test_a_stream_that_breaks_off_ends_the_run_as_failed() -> None:
    def broken():
        yield Acquisition(2)
        yield MerlinFrame(1, net())
        raise MerlinError("cut")

    documents = Documents()
    report = publish_merlin(broken(), documents, SOURCE)
    assert report.problem == "cut"
    assert (documents[-1][1]["exit_status"], documents[-1][1]["reason"]) == ("fail", "cut")
    assert report.missing == 1


def test_no_detector_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(MerlinError, match="no Merlin data socket"):
        MerlinConnection("127.0.0.1", port)


def simulator() -> str | None:
    """LiberTEM-live's simulated camera, on the path or where the environment says."""
    return os.environ.get("BRAGGWATCH_MIB_SIM") or shutil.which("libertem-live-mib-sim")


@pytest.mark.skipif(simulator() is None, reason="libertem-live-mib-sim is not here (pip install libertem-live)")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_frames_of_libertems_simulated_camera_arrive(tmp_path: Path) -> None:
    (tmp_path / "scan.mib").write_bytes(b"".join(mib(n + 1, frame) for n, frame in enumerate(FRAMES)))
    (tmp_path / "scan.hdr").write_bytes(
        b"HDR,\r\nFrames in Acquisition (Number):\t4\r\nFrames per Trigger (Number):\t4\r\n"
        b"Counter Depth (number):\t12\r\nEnd\t"
    )
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        data, control = a.getsockname()[1], b.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as c:
        trigger = c.getsockname()[1]
    ports = ["--data-port", str(data), "--control-port", str(control), "--trigger-port", str(trigger)]
    program = simulator()
    assert program is not None
    command = [program, str(tmp_path / "scan.hdr"), "--nav-shape", "2", "2", "--host", "127.0.0.1", *ports]
    log = (tmp_path / "sim.log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    documents = Documents()
    try:
        # It compiles before it listens, which takes minutes on a busy machine.
        deadline = time.monotonic() + 500
        while True:
            try:
                connection = MerlinConnection("127.0.0.1", data)
                break
            except MerlinError:
                assert process.poll() is None, (tmp_path / "sim.log").read_text()
                assert time.monotonic() < deadline, "the simulated camera does not listen"
                time.sleep(0.2)
        with connection:
            report = publish_merlin(connection.messages(threading.Event()), documents, SOURCE, acquisitions=1)
    finally:
        process.terminate()
        process.wait(20)
        log.close()
    assert (report.frames, report.missing) == (4, 0), json.dumps(report.model_dump())
    assert [np.array_equal(e["pattern"], f) for e, f in zip(documents.events, FRAMES, strict=True)] == [True] * 4
    assert event_model.DocumentNames.stop.name == documents[-1][0]

"""Listening to a proxy says what the runs hold, without a preset."""

from __future__ import annotations

import threading
import time

from braggwatch.services.recording.overheard import overhear
from braggwatch.services.stream.stream_settings import StreamSettings


def test_it_ends_with_the_first_run_that_ends(shared_proxy, make_publisher, make_run) -> None:
    publisher, run = make_publisher(shared_proxy), make_run(scan_id=5)
    done = threading.Event()

    def publish() -> None:
        while not done.wait(0.5):
            make_run().send(publisher)

    sending = threading.Thread(target=publish)
    sending.start()
    began = time.monotonic()
    try:
        heard = overhear(StreamSettings(address=shared_proxy.out_address, prefix="raw"), 60.0)
    finally:
        done.set()
        sending.join()
    assert time.monotonic() - began < 30.0
    (contents,) = (one for one in heard if one.exit_status is not None and one.streams)
    assert contents.exit_status == "success"
    assert [key.name for key in contents.images] == ["det_image"]
    assert run.uid not in {one.run_uid for one in heard}


def test_silence_is_no_error() -> None:
    assert overhear(StreamSettings(address="tcp://127.0.0.1:9"), 0.3) == ()

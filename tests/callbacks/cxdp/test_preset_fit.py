"""What of a run fits a preset, and what is missing, is said field by field."""

from __future__ import annotations

from braggwatch.callbacks.cxdp.preset_fit import preset_fit
from braggwatch.callbacks.documents.contents_book import ContentsBook


def contents_of(documents):
    book = ContentsBook()
    for name, doc in documents:
        book.take(name, doc)
    return book.contents(book.runs[0])


def test_every_field_of_a_run_that_fits_is_found_where_it_is(scan, preset):
    lines = {line.field: line for line in preset_fit(preset, contents_of(scan.inline()))}
    assert {field: line.found for field, line in lines.items()} == {
        "det": "stream primary, 24 × 20",
        "th": "stream primary",
        "energy": "start document",
        "delta": "configuration",
        "monitor": "stream primary",
    }
    assert all(line.problem is None for line in lines.values())


def test_what_is_missing_is_said_with_the_way_out(scan, preset):
    documents = scan.inline()
    del documents[0][1]["energy"]
    other = preset.model_copy(update={"detector_field": "eiger_image", "monitor_field": "I0"})
    lines = {line.field: line for line in preset_fit(other, contents_of(documents))}
    assert "this run has 'det' (24 × 20)" in str(lines["eiger_image"].problem)
    assert "baseline stream" in str(lines["energy"].problem)
    assert lines["I0"].optional
    assert lines["th"].problem is None


def test_a_circle_that_is_not_read_with_each_frame_is_doubted(scan, preset):
    documents = [
        scan.start(),
        scan.descriptor(keys=("det",)),
        scan.descriptor(keys=("th",), name="baseline"),
        scan.stop(),
    ]
    lines = {line.field: line for line in preset_fit(preset, contents_of(documents))}
    assert lines["th"].found == "baseline"
    assert "another circle" in str(lines["th"].problem)


def test_frames_larger_than_the_chip_are_told(scan, preset):
    small = preset.model_copy(update={"chip_shape": (20, 20)})
    (detector, *_) = preset_fit(small, contents_of(scan.inline()))
    assert "larger than the preset's chip of 20 × 20" in str(detector.problem)

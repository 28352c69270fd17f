"""What documents say of files is followed in the spellings that are about, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from braggwatch.callbacks.documents.frame_routes_hdf5 import PathMap, UnusableReference
from braggwatch.models.verdict import Outcome

DATASET = "/entry/data/data"


def exposures_of(frames: np.ndarray, count: int) -> np.ndarray:
    """Split each frame into several exposures whose sum it is: (N * count, rows, columns)."""
    rng = np.random.default_rng(0)
    shares = rng.multinomial(frames.astype(np.int64), [1 / count] * count)
    return np.moveaxis(shares, -1, 1).reshape(-1, *frames.shape[1:]).astype(frames.dtype)


def write(path: Path, data: np.ndarray) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        file[DATASET] = data
    return path


def assert_judged(bench, frames):
    assert bench.result.verdict.outcome is Outcome.CLASSIFIED, bench.result.verdict.reason
    np.testing.assert_array_equal(bench.curve.frames, frames)


@pytest.mark.parametrize("mapped", ["C:\\data", "C:/data", "c:\\Data\\"])
@pytest.mark.parametrize(
    ("root", "path"), [("C:\\data", "det\\scan.h5"), ("C:\\", "data\\det\\scan.h5"), ("C:\\data\\", "\\det\\scan.h5")]
)
def test_a_windows_computers_paths_are_mapped(mapped, root, path, scan, bench_of, tmp_path: Path):
    (tmp_path / "det").mkdir()
    documents = scan.resource_datum(scan.write(tmp_path / "det" / "scan.h5"))
    documents[1][1].update(root=root, resource_path=path, path_semantics="windows")
    bench = bench_of(root_map={mapped: str(tmp_path)}, allowed_roots=(str(tmp_path),))
    assert_judged(bench.feed(documents), scan.frames)


def test_a_windows_path_in_a_uri_or_on_a_share_is_mapped_too(tmp_path: Path):
    paths = PathMap({"C:\\data": "/mnt/c", "\\\\store\\beam": "/mnt/share"}, ())
    assert paths.from_uri("file://localhost/C:/data/a%20b/scan.h5") == Path("/mnt/c/a b/scan.h5")
    assert paths.local("\\\\store\\beam\\run\\scan.h5") == Path("/mnt/share/run/scan.h5")
    with pytest.raises(UnusableReference, match=r"assembly\.root_map"):
        paths.local("D:\\other\\scan.h5")
    with pytest.raises(UnusableReference, match="allowed"):
        PathMap({"C:\\data": str(tmp_path)}, (str(tmp_path),)).local("C:\\data\\..\\secret.h5")


def test_exposures_may_be_stated_by_the_stream_resource(scan, bench, tmp_path: Path):
    path = write(tmp_path / "scan.h5", exposures_of(scan.frames, 3))
    documents = scan.streamed(path)
    documents[1][1]["data_keys"]["det"]["shape"] = [24, 20]
    documents[2][1]["parameters"] |= {"multiplier": 3, "swmr": True}
    assert_judged(bench.feed(documents), scan.frames)


def test_exposures_that_contradict_each_other_are_refused(scan, bench, tmp_path: Path):
    documents = scan.streamed(write(tmp_path / "scan.h5", exposures_of(scan.frames, 3)))
    documents[1][1]["data_keys"]["det"]["shape"] = [2, 24, 20]
    documents[2][1]["parameters"]["multiplier"] = 3
    bench.feed(documents).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "2 exposures for each event, the stream resource 3" in bench.result.verdict.reason


@pytest.mark.parametrize("stated", [1, 1.0, np.float64(1), 0, None])
def test_one_frame_a_point_however_it_is_written(stated, scan, bench, tmp_path: Path):
    documents = scan.resource_datum(scan.write(tmp_path / "scan.h5"))
    documents[1][1]["resource_kwargs"] = {"frame_per_point": stated}
    assert_judged(bench.feed(documents), scan.frames)


@pytest.mark.parametrize("stated", [0, None])
def test_a_resource_that_states_no_exposures_has_the_descriptors(stated, scan, bench, tmp_path: Path):
    documents = scan.resource_datum(write(tmp_path / "scan.h5", exposures_of(scan.frames, 2)))
    documents[1][1]["resource_kwargs"] = {"frame_per_point": stated}
    descriptor = next(doc for name, doc in documents if name == "descriptor")
    descriptor["data_keys"]["det"]["shape"] = [2, 24, 20]
    assert_judged(bench.feed(documents), scan.frames)


@pytest.mark.parametrize("stated", [-1, 1.5, "many"])
def test_what_is_no_number_of_exposures_is_named(stated, scan, bench, tmp_path: Path):
    documents = scan.resource_datum(scan.write(tmp_path / "scan.h5"))
    documents[1][1]["resource_kwargs"] = {"frame_per_point": stated}
    bench.feed(documents).wait(60)
    assert "frame_per_point is not a whole number" in bench.result.verdict.reason


@pytest.mark.parametrize("key", ["dataset", "path"])
def test_the_dataset_may_be_called_path(key, scan, bench, tmp_path: Path):
    path = scan.write(tmp_path / "scan.h5", dataset="/elsewhere")
    documents = scan.streamed(path)
    documents[2][1]["parameters"] = {key: "/elsewhere"}
    assert_judged(bench.feed(documents), scan.frames)


@pytest.mark.parametrize("axes", [(24, 20), (1, 24, 20), (24, 20, 1), (1, 24, 20, 1), (1, 1, 24, 20)])
def test_axes_of_length_one_are_no_exposures(axes, scan, bench, bench_of, tmp_path: Path):
    documents = scan.streamed(write(tmp_path / "scan.h5", scan.frames.reshape(21, *axes)))
    documents[1][1]["data_keys"]["det"]["shape"] = list(axes)
    assert_judged(bench.feed(documents), scan.frames)
    documents = scan.inline()
    documents[1][1]["data_keys"]["det"]["shape"] = list(axes)
    for name, doc in documents:
        if name == "event":
            doc["data"]["det"] = doc["data"]["det"].reshape(axes)
    assert_judged(bench_of().feed(documents), scan.frames)


def single(scan, folder: Path, template: str, exposures: int = 1):
    """One file for each frame, as areaDetector's HDF5 plugin writes in the mode Single."""
    frames = exposures_of(scan.frames, exposures)
    for number, frame in enumerate(frames):
        write(Path(template % (f"{folder}/", "au", number)), frame[np.newaxis])
    documents = scan.resource_datum(folder / "none.h5")
    kwargs = {"template": template, "filename": "au", "frame_per_point": exposures}
    documents[1][1].update(spec="AD_HDF5_SINGLE", root="/", resource_path=f"{str(folder)[1:]}/", resource_kwargs=kwargs)
    return documents


@pytest.mark.parametrize("template", ["%s%s_%6.6d.h5", "%s%s_%03d.h5", "%s%s%d.hdf5"])
@pytest.mark.parametrize("exposures", [1, 3])
def test_one_file_a_frame_is_read(template, exposures, scan, bench, tmp_path: Path):
    assert_judged(bench.feed(single(scan, tmp_path, template, exposures)), scan.frames)


def test_a_file_of_a_frame_that_lacks_is_a_missing_frame(scan, bench, tmp_path: Path):
    documents = single(scan, tmp_path, "%s%s_%03d.h5")
    (tmp_path / "au_001.h5").unlink()
    bench.feed(documents).wait(60)
    assert bench.result.frames_received == 20
    assert "au_001.h5" in bench.result.verdict.reason


@pytest.mark.parametrize("template", ["%s%s_%999999999d.h5", "%s%s", "%(a)s", "%r%s%d", None])
def test_a_template_that_makes_no_name_is_refused(template, scan, bench, tmp_path: Path):
    documents = single(scan, tmp_path, "%s%s_%03d.h5")
    documents[1][1]["resource_kwargs"]["template"] = template
    bench.feed(documents).wait(60)
    assert bench.result.verdict.outcome is Outcome.INVALID
    assert "no file name can be made" in bench.result.verdict.reason


@pytest.mark.parametrize("new_file", [True, False])
def test_points_repeated_after_a_rewind_are_the_later_ones(new_file, scan, bench, tmp_path: Path):
    """The plan was paused after the 12th point and went back to the 9th; its detector opened a new file, or went on."""
    old = np.zeros_like(scan.frames[8:12])
    first, rest = np.concatenate([scan.frames[:8], old]), scan.frames[8:]
    documents = scan.streamed(write(tmp_path / "one.h5", first if new_file else np.concatenate([first, rest])))
    start, descriptor, resource, *points = documents
    before, stop = points[:24], points[-1]
    again = []
    if new_file:
        name, doc = scan.stream_resource(write(tmp_path / "two.h5", rest))
        again.append((name, doc | {"uid": "another"}))
    for index in range(8, 21):
        name, doc = scan.stream_datum(index, index + 1)
        at = index - 8 if new_file else index + 4
        indices = {"start": at, "stop": at + 1}
        used = "another" if new_file else doc["stream_resource"]
        again.append((name, doc | {"uid": f"again/{index}", "stream_resource": used, "indices": indices}))
        again.append(scan.event(index, scan.readings(index), retake=1))
    bench.feed([start, descriptor, resource, *before, *again, stop])
    assert_judged(bench, scan.frames)

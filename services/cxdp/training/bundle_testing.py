"""Test a bundle as deployed, on shards of crystals and of outliers, in one or more processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from functools import lru_cache
from pathlib import Path

from braggwatch.models.cxdp.classifier import BundleClassifier
from braggwatch.models.cxdp.evaluation import Evaluation, Prediction, predict, summarise_all
from braggwatch.services.batch.executors import one_core_each
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards, Part
from braggwatch.sim.cxdp.shards import verify_shard


def run_test(
    classifier: BundleClassifier,
    shards: Sequence[Path],
    outliers: Sequence[Path],
    *,
    part: Part | None = None,
    workers: int = 1,
    on_shard: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Test a classifier as deployed.

    Parameters
    ----------
    shards, outliers
        Shards of crystals, and of scans that should be rejected (may be empty). Good crystals that no class describes
        are reported separately; samples with any other label outside the classes count as outliers in either.
    part
        Only these crystals.
    workers
        Processes, one core each; with more than one, they run the bundle on the CPU, whatever ``classifier`` uses.
    on_shard
        Called with (shards done, shards in total).

    Raises
    ------
    ShardError
        If a shard is damaged; the text names it and the pattern.
    """
    tasks = [(path, part) for path in (*shards, *outliers)]
    by_shard: dict[Path, list[Prediction]] = {}
    results = (
        _in_this_process(classifier, tasks) if workers < 2 else _in_processes(classifier.bundle.path, tasks, workers)
    )
    for path, shard_predictions in results:
        by_shard[path] = shard_predictions
        if on_shard is not None:
            on_shard(len(by_shard), len(tasks))
    predictions = [prediction for path, _ in tasks for prediction in by_shard[path]]
    identity = classifier.identity
    runtime = identity.runtime if workers < 2 else _CPU_RUNTIME
    return summarise_all(predictions, classifier.classes, identity.id, runtime)


_CPU_RUNTIME = "onnxruntime-cpu"
_Task = tuple[Path, Part | None]


def _in_this_process(classifier: BundleClassifier, tasks: Sequence[_Task]) -> Iterator[tuple[Path, list[Prediction]]]:
    for path, part in tasks:
        yield path, _predictions(classifier, path, part)


def _in_processes(bundle: Path, tasks: Sequence[_Task], workers: int) -> Iterator[tuple[Path, list[Prediction]]]:
    pool = one_core_each(min(workers, max(1, len(tasks))))
    try:
        waiting = {pool.submit(_predict_shard, bundle, path, part): path for path, part in tasks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _predict_shard(bundle: Path, path: Path, part: Part | None) -> list[Prediction]:
    return _predictions(_load_once(bundle), path, part)


@lru_cache(maxsize=1)
def _load_once(bundle: Path) -> BundleClassifier:
    return BundleClassifier.load(bundle, threads=1, prefer=_CPU_RUNTIME)


def _predictions(classifier: BundleClassifier, path: Path, part: Part | None) -> list[Prediction]:
    verify_shard(path)  # a damaged pattern would be left out of the score without a word
    samples = LabelledShards([path], outlier_class=True, unclassed=True, part=part)
    return predict(classifier, samples.labelled(), classifier.classes)

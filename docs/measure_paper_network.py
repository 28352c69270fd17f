"""Train the network of Lim et al. on its own regime and say how right it is, by crystal.

``python docs/measure_paper_network.py --data DIR … --test DIR --out DIR`` wants patterns without nuisance of relaxed
crystals; docs/explanation/training-regimes.md says how they are made. It goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from braggwatch.models.networks.factory import make_network, network_kind
from braggwatch.models.training import predict, train
from braggwatch.models.training_config import paper_config
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.services.labelled_shards import CLASSES, LabelledShards, Part, Split

VALIDATION_SHARE = 0.1


class Schedule(StrEnum):
    """How the learning rate goes, and whether mirror images are shown."""

    PAPER = "paper"
    ONE_CYCLE = "one-cycle"


def main(
    data: Annotated[list[Path], typer.Option(help="Folder of training shards; again for more.")],
    test: Annotated[Path, typer.Option(help="Folder of shards of other crystals.")],
    out: Annotated[Path, typer.Option(help="Log, checkpoint and the result.")],
    network: Annotated[str, typer.Option(help="'paper' or 'paper-half', half as wide.")] = "paper-half",
    epochs: Annotated[int, typer.Option(min=1, help="At most; fewer where the validation loss plateaus.")] = 30,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
    seed: Annotated[int, typer.Option()] = 1,
    schedule: Annotated[
        Schedule, typer.Option(help="'paper', or 'one-cycle' with mirror images that keep Q, for few crystals.")
    ] = Schedule.PAPER,
) -> None:
    """Adam at 1e-3, batches of 64, cross-entropy, patterns without noise, until the validation loss plateaus."""
    with clear_errors():
        shards = [path for folder in data for path in sorted(folder.glob("cxdp-*.h5"))]
        split = Split(shares=(1 - VALIDATION_SHARE, VALIDATION_SHARE, 0.0), seed=seed)
        source = LabelledShards(shards, part=Part(split, "training"))
        watched = LabelledShards(shards, part=Part(split, "calibration"))
        asked = LabelledShards(sorted(test.glob("cxdp-*.h5")))
        paper = paper_config(len(source), seed=seed, threads=threads, device=device)
        config = replace(paper, steps=epochs * paper.validate_every, nuisance=False, bf16=True)
        if schedule is Schedule.ONE_CYCLE:
            config = replace(
                config,
                schedule="one-cycle",
                optimiser="adamw",
                weight_decay=0.02,
                symmetry=True,
                ema=0.99,
                clip_norm=1.0,
            )
        with counted_progress() as progress:
            task = progress.add_task("training", total=config.steps)
            trained = train(
                make_network(network_kind(network), len(CLASSES)),
                source,
                watched,
                config,
                out,
                lambda step, loss: progress.update(task, completed=step, description=f"training, loss {loss:.3f}"),
            )
        found = predict(trained, asked, bf16=True)
        said = found.logits.argmax(1)
        pairs = Counter(
            (CLASSES[int(label)], CLASSES[int(word)]) for label, word in zip(found.labels, said, strict=True)
        )
        crystals = np.array([info.config for info in asked.infos])
        right = said == found.labels
        by_crystal = [float(right[crystals == number].mean()) for number in np.unique(crystals)]
        edges = sum(count for (label, _), count in pairs.items() if label == "edge")
        result = {
            "network": network,
            "schedule": schedule.value,
            "steps": config.steps,
            "training": {"patterns": len(source), "crystals": len({(i.source, i.config) for i in source.infos})},
            "test": {"patterns": len(asked), "crystals": len(by_crystal)},
            "accuracy": float(right.mean()),
            "standard_error_by_crystal": float(np.std(by_crystal) / np.sqrt(len(by_crystal))),
            "edge_called_screw": pairs[("edge", "screw")] / max(1, edges),
            "confusion": {f"{label} as {word}": count for (label, word), count in sorted(pairs.items())},
        }
        (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        typer.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)

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
import torch
import typer

from braggwatch.models.cxdp.presentation import PatternPresentation
from braggwatch.models.learning.freed_memory import keep_freed_memory
from braggwatch.models.learning.training import predict, train
from braggwatch.models.learning.training_config import paper_config
from braggwatch.models.learning.training_state import CHECKPOINT_FILE
from braggwatch.models.networks.cxdp import PaperNet
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.services.cxdp.training.labelled_shards import LabelledShards, Part, Split
from braggwatch.sim.cxdp.labels import CLASSES

VALIDATION_SHARE = 0.1


class Schedule(StrEnum):
    """How the learning rate goes, and whether mirror images are shown."""

    PAPER = "paper"
    ONE_CYCLE = "one-cycle"


def main(
    data: Annotated[list[Path], typer.Option(help="Folder of training shards; again for more.")],
    test: Annotated[list[Path], typer.Option(help="Folder of shards of other crystals; again for more.")],
    out: Annotated[Path, typer.Option(help="Log, checkpoint and the result.")],
    width: Annotated[int, typer.Option(min=1, help="Channels of the first convolution; 32: 'paper'.")] = 16,
    epochs: Annotated[int, typer.Option(min=1, help="At most; fewer where the validation loss plateaus.")] = 30,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
    seed: Annotated[int, typer.Option()] = 1,
    schedule: Annotated[
        Schedule, typer.Option(help="'paper', or 'one-cycle': batches of 16, mirror images and turns that keep Q.")
    ] = Schedule.PAPER,
    convolutional_dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="After each convolution.")] = 0.2,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Constant, or the peak of the cycle.")] = 1e-3,
    begin_with: Annotated[Path | None, typer.Option(help="Folder of another run whose weights to begin with.")] = None,
) -> None:
    """Adam at 1e-3, batches of 64, cross-entropy, patterns without noise, until the validation loss plateaus."""
    with clear_errors():
        keep_freed_memory()
        shards = [path for folder in data for path in sorted(folder.glob("cxdp-*.h5"))]
        split = Split(shares=(1 - VALIDATION_SHARE, VALIDATION_SHARE, 0.0), seed=seed)
        source = LabelledShards(shards, part=Part(split, "training"))
        watched = LabelledShards(shards, part=Part(split, "calibration"))
        asked = LabelledShards([path for folder in test for path in sorted(folder.glob("cxdp-*.h5"))])
        config = replace(
            paper_config(len(source), seed=seed, threads=threads, device=device), nuisance=False, bf16=True
        )
        if schedule is Schedule.ONE_CYCLE:
            config = replace(
                config,
                batch=16,
                validate_every=len(source) // 16,
                checkpoint_every=100,
                schedule="one-cycle",
                optimiser="adamw",
                weight_decay=0.02,
                symmetry=True,
                turned_share=0.3,
                largest_shift=1,
                ema=0.998,
                clip_norm=1.0,
                patience=0,
            )
        config = replace(config, steps=epochs * config.validate_every, learning_rate=learning_rate)
        model = PaperNet(len(CLASSES), width, convolutional_dropout)
        if begin_with is not None:
            model.load_state_dict(torch.load(begin_with / CHECKPOINT_FILE, weights_only=True)["averaged"])
        with counted_progress() as progress:
            task = progress.add_task("training", total=config.steps)
            trained = train(
                model,
                source,
                watched,
                config,
                out,
                lambda step, loss: progress.update(task, completed=step, description=f"training, loss {loss:.3f}"),
                presentation=PatternPresentation(),
            )
        found = predict(trained, asked, bf16=True, presentation=PatternPresentation())
        said = found.logits.argmax(1)
        pairs = Counter(
            (CLASSES[int(label)], CLASSES[int(word)]) for label, word in zip(found.labels, said, strict=True)
        )
        right = said == found.labels
        crystals: dict[tuple[str, int], list[int]] = {}
        for number, info in enumerate(asked.infos):
            crystals.setdefault((info.source, info.config), []).append(number)
        by_crystal = {key: float(right[numbers].mean()) for key, numbers in crystals.items()}
        edges = sum(count for (label, _), count in pairs.items() if label == "edge")
        result = {
            "width": width,
            "convolutional_dropout": convolutional_dropout,
            "schedule": schedule.value,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "begun_with": None if begin_with is None else begin_with.name,
            "seed": seed,
            "training": {"patterns": len(source), "crystals": len({(i.source, i.config) for i in source.infos})},
            "test": {"patterns": len(asked), "crystals": len(crystals)},
            "accuracy": float(right.mean()),
            "standard_error_by_crystal": float(np.std(list(by_crystal.values())) / np.sqrt(len(crystals))),
            "edge_called_screw": pairs[("edge", "screw")] / max(1, edges),
            "confusion": {f"{label} as {word}": count for (label, word), count in sorted(pairs.items())},
            "mostly_wrong": [
                {
                    "crystal": info.config,
                    "label": info.label,
                    "element": info.element,
                    "line_distance": round(info.line_distance, 2),
                    "right": share,
                }
                for info, share in ((asked.infos[crystals[key][0]], share) for key, share in by_crystal.items())
                if share < 0.5
            ],
        }
        (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        typer.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)

"""What a bare network says of labelled volumes, without a bundle's calibration, gates and symmetry copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from torch import nn

from braggwatch.models.cxdp.augmentation import normalise
from braggwatch.models.cxdp.predictions import LabelledVolume, Prediction
from braggwatch.models.verdict import Outcome

_BATCH = 32


def predict_with_network(
    network: nn.Module, volumes: Iterable[LabelledVolume], classes: Sequence[str]
) -> list[Prediction]:
    """Return the softmax over the classes of every volume; each counts as classified.

    Parameters
    ----------
    network
        On the CPU; returns (logits, features), as many logits as classes.
    """
    network.eval()
    waiting = iter(volumes)
    found: list[Prediction] = []
    while batch := list(islice(waiting, _BATCH)):
        counts = torch.from_numpy(np.stack([one.counts for one in batch]))
        with torch.no_grad():
            logits, _ = network(normalise(torch.log1p(counts)))
        rows = torch.softmax(logits[:, : len(classes)].double(), dim=1).tolist()
        found += [
            Prediction(
                label=one.label,
                configuration=one.configuration,
                element=one.element,
                line_offset=one.line_offset,
                peak_counts=float(one.counts.max()),
                outcome=Outcome.CLASSIFIED,
                probabilities=tuple(row),
                ood_score=None,
                hkl=one.hkl,
                g_dot_b=one.g_dot_b,
                completeness=one.completeness,
                strain_rad=one.strain_rad,
                source=one.source,
                character_deg=one.character_deg,
                aspect=one.aspect,
                blur_fringes=one.blur_fringes,
                artefact=one.artefact,
                lattice=one.lattice,
            )
            for one, row in zip(batch, rows, strict=True)
        ]
    return found

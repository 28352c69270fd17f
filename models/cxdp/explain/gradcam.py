"""Grad-CAM of the foveated network: which places of its last feature maps raise a class. Needs torch and captum.

Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.bundling.bundle import WEIGHTS_FILE, Bundle
from braggwatch.models.cxdp.explain.checked_counts import checked_counts
from braggwatch.models.explain.explanation import Explanation, ExplanationError, resampled

if TYPE_CHECKING:
    import torch

    from braggwatch.models.networks.cxdp import FoveatedNet

# The 16³ streams of FoveatedNet, WideNet's fourth, PairedNet's fifth: what part of the volume each one's grid covers.
_WHOLE = slice(0, 64)
_FIELDS = {"peak": slice(24, 40), "fringes": slice(16, 48), "streaks": _WHOLE, "outer": _WHOLE, "pairs": _WHOLE}
_SIZE = 64
_TOLERANCE = 1e-3


def gradcam(bundle: Bundle, counts: NDArray[np.floating], *, label: str | None = None) -> Explanation:
    """Explain a class by the gradients of its logit at the trunk's last stage (4³).

    One place of the trunk stands for a place of the volume in each stream's field of view (central 16³ and 32³ voxels,
    all 64³; in a `WideNet` all 64³ once more, in a `PairedNet` twice). The map is drawn over all of them, shared among
    the streams by the size of gradient times activation at their outputs.

    Parameters
    ----------
    bundle
        Its ``weights.safetensors`` are read.
    counts
        (64, 64, 64) raw counts.
    label
        The class to explain; None: the most probable.

    Raises
    ------
    ExplanationError
        If the volume or the label can't be used, or the weights are not those of a `FoveatedNet` that reproduces the
        bundle's golden outputs.
    ImportError
        Without the extra ``train`` (torch, captum, safetensors).
    """
    began = time.perf_counter()
    manifest = bundle.manifest
    volume = checked_counts(counts, manifest.input.shape)
    if label is not None and label not in manifest.classes:
        raise ExplanationError(f"the model has no class {label!r}, only {', '.join(manifest.classes)}")
    with _one_thread():
        return _explained(bundle, volume, label, began)


def _explained(bundle: Bundle, volume: NDArray[np.float32], label: str | None, began: float) -> Explanation:
    import torch
    from captum.attr import LayerGradCam, LayerGradientXActivation

    manifest = bundle.manifest
    network = load_network(bundle)
    scaled = _normalised(volume[None])

    def logits(batch: torch.Tensor) -> torch.Tensor:
        # A network may have learnt with one more output, for outliers, which its graph leaves out.
        return network(batch)[0][:, : len(manifest.classes)]

    with torch.no_grad():
        probabilities = torch.softmax(logits(scaled) / manifest.temperature, dim=1)[0].numpy()
    target = int(probabilities.argmax()) if label is None else manifest.classes.index(label)
    trunk = _tensors(LayerGradCam(logits, network.trunk).attribute(scaled, target=target, relu_attributions=True))
    cells = np.asarray(trunk[0].numpy()[0, 0], dtype=np.float32)
    fields = {name: field for name, field in _FIELDS.items() if hasattr(network, name)}
    streams = [getattr(network, name) for name in fields]
    found = _tensors(*LayerGradientXActivation(logits, streams).attribute(scaled, target=target))
    sizes = np.array([float(one.abs().sum()) for one in found])
    shares = sizes / (sizes.sum() or 1.0)
    importance = np.zeros((_SIZE, _SIZE, _SIZE), dtype=np.float32)
    for share, field in zip(shares, fields.values(), strict=True):
        importance[field, field, field] += np.float32(share) * resampled(cells, field.stop - field.start)
    return Explanation(
        method="gradcam",
        label=manifest.classes[target],
        probability=float(probabilities[target]),
        importance=importance,
        largest_drop=None,
        evaluations=3,
        seconds=time.perf_counter() - began,
    )


@contextmanager
def _one_thread() -> Generator[None]:
    """Keep torch to one thread: on a machine that is busy with verdicts its threads wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_network(bundle: Bundle) -> FoveatedNet:
    """Build the torch network from a bundle's weights, in evaluation mode, and check it against the golden outputs.

    Raises
    ------
    ExplanationError
        If the weights are those of another network, or don't reproduce the golden outputs.
    """
    import torch
    from safetensors.torch import load

    from braggwatch.models.networks.cxdp import FoveatedConfig, network_class

    state = load((bundle.path / WEIGHTS_FILE).read_bytes())
    try:
        stages = sorted(
            (int(m[1]), name) for name in state if (m := re.fullmatch(r"trunk\.(\d+)\.second\.0\.weight", name))
        )
        runs = [(width, len(list(same))) for width, same in groupby(int(state[name].shape[0]) for _, name in stages)]
        (first, second, third) = runs
        config = FoveatedConfig(
            stem=int(state["peak.0.weight"].shape[0]),
            widths=(first[0], second[0], third[0]),
            blocks=(first[1], second[1], third[1]),
            classes=int(state["head.weight"].shape[0]),
        )
        network = network_class(state)(config)
        network.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ExplanationError(f"{bundle.manifest.id} holds no foveated network: {error}") from error
    network.eval()
    golden = bundle.golden
    with torch.no_grad():
        logits = network(_normalised(golden.counts[:1]))[0].numpy()[:, : len(bundle.manifest.classes)]
    if logits.shape != golden.logits[:1].shape:
        raise ExplanationError(f"the weights of {bundle.manifest.id} have fewer outputs than its graph")
    difference = float(np.abs(logits - golden.logits[:1]).max())
    if difference > _TOLERANCE * max(1.0, float(np.abs(golden.logits[:1]).max())):
        raise ExplanationError(
            f"the weights of {bundle.manifest.id} differ from its graph by {difference:.2g} in a logit"
        )
    return network


def _tensors(*found: torch.Tensor | tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Flatten what captum returns: a tensor, or a tuple of them for a layer of several outputs."""
    return [one.detach() for item in found for one in (item if isinstance(item, tuple) else (item,))]


def _normalised(counts: NDArray[np.float32]) -> torch.Tensor:
    """Return what the graph does to raw counts before the network: log(1 + counts) over its maximum."""
    import torch

    scaled = np.log1p(counts)
    return torch.from_numpy(scaled / scaled.max(axis=(1, 2, 3), keepdims=True))

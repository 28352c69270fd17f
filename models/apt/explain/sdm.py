"""Feature maps and Grad-CAM of the networks of spatial distribution maps. Needs torch, captum and safetensors.

Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017; used on
these maps by Li et al., npj Comput. Mater. 7, 8 (2021).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from braggwatch.models.apt.order_bundle import sdm_input
from braggwatch.models.bundling.bundle import WEIGHTS_FILE, Bundle
from braggwatch.models.explain.explanation import ExplanationError

if TYPE_CHECKING:
    import torch

    from braggwatch.models.apt.sdm_input import SdmInput
    from braggwatch.models.networks.sdm import DrawnSdmNet, SdmEnsemble

_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class SdmExplanation:
    """Where in a map the evidence for a class lies, and what the network's convolutions make of the map.

    Attributes
    ----------
    label, probability
        The class that is explained, and its calibrated probability.
    shown
        (panels, rows, columns) float32: what the network looks at, rows along dz. The published network's picture,
        150 x 150; the centre-voxel network's maps in units of shot noise, one a pair of species.
    importance
        (rows, columns) float32, not negative: Grad-CAM at the last convolution for the class's log-odds, linear between
        its places. The centre-voxel network has places along dz only, and is the mean of its members.
    feature_maps
        One array a convolution, (channels, rows, columns) float32, what it hands on; of an ensemble the first member's,
        whose maps have one column.
    """

    label: str
    probability: float
    shown: NDArray[np.float32]
    importance: NDArray[np.float32]
    feature_maps: tuple[NDArray[np.float32], ...]

    def evidence_by_depth(self) -> NDArray[np.float64]:
        """(rows,) share of the importance at each dz, from the most negative on; zeros where there is none."""
        rows = self.importance.astype(np.float64).sum(axis=1)
        return rows / (rows.sum() or 1.0)


def explain_sdm(bundle: Bundle, counts: NDArray[np.floating], *, label: str | None = None) -> SdmExplanation:
    """Explain what a bundle says of a map.

    Parameters
    ----------
    counts
        (pairs, bins_z, bins_x) counts, as the bundle's manifest says.
    label
        The class to explain; None: the most probable.

    Raises
    ------
    ExplanationError
        If the map or the label can't be used, or the weights don't reproduce the bundle's golden outputs.
    ImportError
        Without the extra ``train`` (torch, captum, safetensors).
    """
    import torch

    manifest = bundle.manifest
    if label is not None and label not in manifest.classes:
        raise ExplanationError(f"the model has no class {label!r}, only {', '.join(manifest.classes)}")
    array = np.ascontiguousarray(counts, dtype=np.float32)
    if array.shape != manifest.input.shape:
        raise ExplanationError(f"{manifest.id} takes maps of {manifest.input.shape}, not of {array.shape}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() <= 0:
        raise ExplanationError("counts must be finite, not negative, and not all zero")
    network = load_sdm_network(bundle)
    given = torch.from_numpy(array[None])
    with torch.no_grad():
        probabilities = torch.softmax(network(given)[0] / manifest.temperature, dim=1)[0].numpy()
    target = int(probabilities.argmax()) if label is None else manifest.classes.index(label)
    # the published network has one output; both classes' evidence is in its sign
    sign = 1.0 if target == 1 else -1.0
    shown, importance, features = _drawn(network, given, sign) if _is_drawn(network) else _members(network, given, sign)
    return SdmExplanation(manifest.classes[target], float(probabilities[target]), shown, importance, features)


def load_sdm_network(bundle: Bundle) -> DrawnSdmNet | SdmEnsemble:
    """Build the torch network, from counts on, from a bundle's weights, and check it against the golden outputs.

    Raises
    ------
    ExplanationError
        If the weights are those of another network, or don't reproduce the golden outputs.
    """
    import torch
    from safetensors.torch import load

    manifest = bundle.manifest
    sdm = sdm_input(manifest)
    if sdm is None:
        raise ExplanationError(f"{manifest.id} takes no spatial distribution maps")
    state = {name: one.float() for name, one in load((bundle.path / WEIGHTS_FILE).read_bytes()).items()}
    try:
        network = _network_of(state, sdm)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ExplanationError(f"{manifest.id} holds no network of maps: {error}") from error
    golden = bundle.golden
    with torch.no_grad():
        logits = network(torch.from_numpy(golden.counts))[0].numpy()
    difference = float(np.abs(logits - golden.logits).max())
    if difference > max(_TOLERANCE, manifest.golden_tolerance) * max(1.0, float(np.abs(golden.logits).max())):
        raise ExplanationError(f"the weights of {manifest.id} differ from its graph by {difference:.2g} in a logit")
    return network


def _network_of(state: dict[str, torch.Tensor], sdm: SdmInput) -> DrawnSdmNet | SdmEnsemble:
    from braggwatch.models.networks.sdm import CentreVoxelConfig, CentreVoxelNet, DrawnSdmNet, PaperSdmNet, SdmEnsemble

    if "convolutions.0.weight" in state:
        paper = PaperSdmNet(sum(bool(re.fullmatch(r"convolutions\.\d+\.weight", name)) for name in state))
        paper.load_state_dict(state)
        return DrawnSdmNet(paper, sdm.window.shape).eval()
    members = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("members."))
    width = int(state["members.0.first.weight"].shape[0])
    config = CentreVoxelConfig(
        pairs=sdm.shape[0], bins_x=sdm.bins_x, width=width, features=int(state["members.0.head.weight"].shape[1])
    )
    ensemble = SdmEnsemble([CentreVoxelNet(config) for _ in range(members)])
    ensemble.load_state_dict(state)
    return ensemble.eval()


def _is_drawn(network: DrawnSdmNet | SdmEnsemble) -> bool:
    from braggwatch.models.networks.sdm import DrawnSdmNet

    return isinstance(network, DrawnSdmNet)


_Found = tuple[NDArray[np.float32], NDArray[np.float32], tuple[NDArray[np.float32], ...]]


def _drawn(network: DrawnSdmNet | SdmEnsemble, given: torch.Tensor, sign: float) -> _Found:
    import torch
    from captum.attr import LayerGradCam

    drawn = cast("DrawnSdmNet", network)
    picture = drawn.draw(given).detach()

    def log_odds(pictures: torch.Tensor) -> torch.Tensor:
        return sign * drawn.network(pictures)[0][:, 1]

    cells = LayerGradCam(log_odds, drawn.network.convolutions[-1]).attribute(picture, relu_attributions=True)
    places = cast("torch.Tensor", cells).detach().numpy()[0, 0]
    with torch.no_grad():
        maps = tuple(one[0].numpy() for one in drawn.network.feature_maps(picture))
    shown = picture[0].numpy()
    return shown, stretched(places, (shown.shape[1], shown.shape[2])), maps


def _members(network: DrawnSdmNet | SdmEnsemble, given: torch.Tensor, sign: float) -> _Found:
    import torch
    from captum.attr import LayerGradCam

    from braggwatch.models.networks.sdm import CentreVoxelNet, standardise

    ensemble = cast("SdmEnsemble", network)
    shown = standardise(given)
    found: list[NDArray[np.float32]] = []
    for one in ensemble.members:
        member = cast("CentreVoxelNet", one)

        def log_odds(maps: torch.Tensor, member: CentreVoxelNet = member) -> torch.Tensor:
            logits = member(maps)[0]
            return sign * (logits[:, 1] - logits[:, 0])

        cells = LayerGradCam(log_odds, member.norms[-1]).attribute(shown, relu_attributions=True)
        found.append(cast("torch.Tensor", cells).detach().numpy()[0, 0])
    with torch.no_grad():
        maps = cast("CentreVoxelNet", ensemble.members[0]).feature_maps(shown)
    panels = shown[0].numpy()
    importance = stretched(np.mean(found, axis=0)[:, None], (panels.shape[1], panels.shape[2]))
    return panels, importance, tuple(one[0].numpy()[:, :, None] for one in maps)


def stretched(cells: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Stretch (n, m) cell values over a (rows, columns) map, linear between the cells' centres, flat outside."""
    weights: list[NDArray[np.float64]] = []
    for n, size in zip(cells.shape, shape, strict=True):
        centres = (np.arange(n) + 0.5) * size / n - 0.5
        weights.append(np.stack([np.interp(np.arange(size), centres, row) for row in np.eye(n)], axis=1))
    return (weights[0] @ cells.astype(np.float64) @ weights[1].T).astype(np.float32)

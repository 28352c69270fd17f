"""Grad-CAM and feature maps of the order networks: as defined, in the right place, for both classes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from braggwatch.models.apt.explain.sdm import explain_sdm, load_sdm_network, stretched
from braggwatch.models.apt.explain.sdm_picture import sdm_explanation_pixels
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.apt.training.samples import SdmSamples
from braggwatch.models.bundling.bundle import WEIGHTS_FILE, Bundle, GoldenArrays, write_bundle
from braggwatch.models.bundling.manifest import InputSpec, Manifest, Provenance, task_json
from braggwatch.models.explain.explanation import ExplanationError

pytest.importorskip("torch")
pytest.importorskip("captum")
import torch


def bundle_of(root: Path, network: torch.nn.Module, inner: torch.nn.Module, sdm: SdmInput, name: str) -> Bundle:
    from safetensors.torch import save

    from braggwatch.models.apt.training.trust_fitting import fit_sdm_trust
    from braggwatch.models.bundling.export import export_onnx
    from braggwatch.models.runtimes import OnnxRuntime

    model = export_onnx(network, 1.0, sdm.shape, normalisation="network")
    runtime = OnnxRuntime(model, threads=1)
    maps = np.random.default_rng(0).poisson(30, (24, *sdm.shape)).astype(np.uint16)
    fit = fit_sdm_trust(runtime, SdmSamples(maps, np.arange(24) % 2, np.arange(24) // 2))
    golden = GoldenArrays.record(runtime, maps[:2].astype(np.float32))
    manifest = Manifest(
        name=name,
        version="1",
        task="apt-order",
        classes=("fcc", "l12"),
        input=InputSpec(axes=("pair", "dz", "dx"), shape=sdm.shape, normalisation="network", sdm=task_json(sdm)),
        features=golden.features.shape[1],
        temperature=1.0,
        symmetry_copies=1,
        thresholds=fit.thresholds,
        provenance=Provenance(code_version="test"),
    )
    weights = save({name: one.contiguous() for name, one in inner.state_dict().items()})
    path = write_bundle(root, manifest, model=model, trust=fit.arrays, golden=golden, weights=weights, card="test\n")
    return Bundle.load(path)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from braggwatch.models.networks.sdm import DrawnSdmNet, PaperSdmNet

    torch.manual_seed(3)
    network = PaperSdmNet()
    sdm = SdmInput.paper()
    drawn = DrawnSdmNet(network, sdm.window.shape).eval()
    return bundle_of(tmp_path_factory.mktemp("paper"), drawn, network, sdm, "paper")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from braggwatch.models.networks.sdm import CentreVoxelNet, SdmEnsemble

    torch.manual_seed(3)
    network = SdmEnsemble([CentreVoxelNet(), CentreVoxelNet()]).eval()
    return bundle_of(tmp_path_factory.mktemp("ensemble"), network, network, SdmInput(), "ensemble")


def counts_of(bundle: Bundle, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = bundle.manifest.input.shape
    planes = 20 + 15 * np.cos(np.arange(shape[1]) * 0.6)[None, :, None]
    return rng.poisson(np.broadcast_to(planes, shape)).astype(np.float32)


def test_the_paper_networks_evidence_is_grad_cam_as_defined(paper: Bundle) -> None:
    from braggwatch.models.networks.sdm import DrawnSdmNet

    counts = counts_of(paper)
    drawn = load_sdm_network(paper)
    assert isinstance(drawn, DrawnSdmNet)
    picture = drawn.draw(torch.from_numpy(counts[None]))
    for label, sign in (("fcc", -1.0), ("l12", 1.0)):
        found = explain_sdm(paper, counts, label=label)
        x = picture
        for convolution in drawn.network.convolutions[:-1]:
            x = torch.max_pool2d(torch.relu(convolution(x)), 2)
        last = drawn.network.convolutions[-1](x).detach().requires_grad_()
        dense = drawn.network.dense(torch.max_pool2d(torch.relu(last), 2).flatten(1))
        score = sign * drawn.network.head(torch.relu(dense)).sum()
        (gradient,) = torch.autograd.grad(score, last)
        cells = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * last).sum(dim=1))[0].detach().numpy()
        np.testing.assert_allclose(found.importance, stretched(cells, (150, 150)), rtol=1e-3, atol=1e-6)
    assert [one.shape for one in found.feature_maps] == [(16, 74, 74), (32, 36, 36), (64, 17, 17), (64, 7, 7)]
    np.testing.assert_allclose(found.shown[0], picture[0, 0].numpy(), atol=1e-6)


def test_the_classes_probabilities_add_up_and_the_more_probable_is_chosen(paper: Bundle, ensemble: Bundle) -> None:
    for bundle in (paper, ensemble):
        counts = counts_of(bundle)
        both = [explain_sdm(bundle, counts, label=label) for label in ("fcc", "l12")]
        assert sum(one.probability for one in both) == pytest.approx(1, abs=1e-5)
        best = max(both, key=lambda one: one.probability)
        assert explain_sdm(bundle, counts).label == best.label
        assert (best.importance >= 0).all()


def test_the_ensembles_evidence_is_the_mean_of_its_members_grad_cam(ensemble: Bundle) -> None:
    from torch.nn import functional

    from braggwatch.models.networks.sdm import CentreVoxelNet, SdmEnsemble, standardise

    network = load_sdm_network(ensemble)
    assert isinstance(network, SdmEnsemble)
    counts = counts_of(ensemble)
    shown = standardise(torch.from_numpy(counts[None]))
    found = explain_sdm(ensemble, counts, label="fcc")
    cells: list[np.ndarray] = []
    for member in cast("list[CentreVoxelNet]", list(network.members)):
        last = member.norms[-1](member.third(member.feature_maps(shown)[1])).detach().requires_grad_()
        logits = member.head(torch.tanh(member.dense(functional.silu(last).flatten(1))))
        (gradient,) = torch.autograd.grad(logits[0, 0] - logits[0, 1], last)
        cells.append(torch.relu((gradient.mean(dim=2, keepdim=True) * last).sum(dim=1))[0].detach().numpy())
    wanted = stretched(np.mean(cells, axis=0)[:, None], (93, 5))
    assert wanted.max() > 0
    np.testing.assert_allclose(found.importance, wanted, rtol=1e-3, atol=1e-6)
    assert [one.shape for one in found.feature_maps] == [(32, 47, 1), (32, 24, 1), (32, 12, 1)]
    np.testing.assert_allclose(found.shown, shown[0].numpy(), atol=1e-6)


def test_shares_by_depth_add_up(paper: Bundle) -> None:
    found = explain_sdm(paper, counts_of(paper), label="l12")
    other = explain_sdm(paper, counts_of(paper), label="fcc")
    for one in (found, other):
        total = one.evidence_by_depth().sum()
        assert total == pytest.approx(1) or (total == 0 and one.importance.max() == 0)


def test_what_cant_be_explained_is_refused(paper: Bundle, ensemble: Bundle, tmp_path: Path) -> None:
    counts = counts_of(paper)
    with pytest.raises(ExplanationError, match="no class 'hcp'"):
        explain_sdm(paper, counts, label="hcp")
    with pytest.raises(ExplanationError, match="takes maps of"):
        explain_sdm(paper, counts_of(ensemble))
    for bad in (np.full_like(counts, np.nan), -counts, 0 * counts):
        with pytest.raises(ExplanationError, match="finite, not negative"):
            explain_sdm(paper, bad)
    from dataclasses import replace

    from safetensors.torch import load, save

    state = load((paper.path / WEIGHTS_FILE).read_bytes())
    for name, change, match in (
        ("other", {"head.bias": state["head.bias"] + 1}, "differ from its graph"),
        ("none", {"head.weight": torch.zeros(3, 3)}, "holds no network of maps"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / WEIGHTS_FILE).write_bytes(save({**state, **change}))
        with pytest.raises(ExplanationError, match=match):
            explain_sdm(replace(paper, path=folder), counts)


def test_the_picture_has_the_map_the_evidence_and_a_tile_a_channel(paper: Bundle, ensemble: Bundle) -> None:
    for bundle, panels in ((paper, 1), (ensemble, 3)):
        found = explain_sdm(bundle, counts_of(bundle), label="l12")
        pixels = sdm_explanation_pixels(found)
        assert pixels.dtype == np.uint8
        assert pixels.shape[1] >= 2 * panels * 300
        top = pixels[:300]
        grey = (top.max(axis=2) == top.min(axis=2)).mean(axis=0)
        assert (grey[: 300 * panels] == 1).all(), "the map itself has no colour"
        if found.importance.max() > 0:
            assert (grey[306 * panels : 306 * panels + 300] < 1).any()


def test_cells_are_stretched_to_their_places() -> None:
    cells = np.zeros((7, 3))
    cells[5, 1] = 1
    wide = stretched(cells, (70, 30))
    assert np.unravel_index(wide.argmax(), wide.shape)[0] in range(52, 58)
    assert stretched(np.ones((7, 3)), (70, 30)) == pytest.approx(1)

"""Make the bundle of Li et al. 2021: simulate maps, cross-validate, train, calibrate, write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.apt.training.measured_maps import MeasuredMaps, read_measured_maps, sevenfold
from braggwatch.models.apt.training.pictures import PictureSamples
from braggwatch.models.apt.training.samples import SdmSamples
from braggwatch.models.apt.training.trust_fitting import fit_sdm_trust
from braggwatch.models.apt.training.vote_network import (
    EPOCHS,
    FOLDS,
    PUBLISHED_DISORDERED,
    PUBLISHED_ORDERED,
    Fold,
    cross_validate,
    paper_sdm_config,
    train_paper,
)
from braggwatch.models.bundling.finishing import BundleStatement, calibrated_graph, finish_bundle
from braggwatch.models.bundling.half_storage import in_half_storage
from braggwatch.models.bundling.manifest import Manifest, Provenance, ValidDomain
from braggwatch.models.bundling.registry import check_new_bundle
from braggwatch.models.bundling.tasks import ORDER_TASK
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.sdm import DrawnSdmNet, PaperSdmNet
from braggwatch.services.apt.training.order_training import CLASSES, sdm_input_spec, sdm_metrics
from braggwatch.services.apt.training.volume_data import make_sdm_library
from braggwatch.services.batch.shards import ShardDone
from braggwatch.services.version import tool_version
from braggwatch.sim.apt.library import LibrarySpec, load_library_spec
from braggwatch.sim.apt.sdm_shards import read_sdm_shard
from braggwatch.sim.errors import InputError
from braggwatch.sim.whole_file import whole_file

HELD_OUT_FROM = 10_000_000
"""Number of the first held-out map of a library: training maps have smaller numbers."""
_GOLDEN = 4
_PRECISION = {True: ", products in half precision (bfloat16), weights and updates in single", False: ""}


@dataclass(frozen=True, slots=True)
class PaperRecipe:
    """Recipe of a bundle with the published network.

    Attributes
    ----------
    library
        Library of cubes of one phase in the paper's window.
    disordered, ordered
        Number of simulated maps of each class.
    held_out
        Number of other maps, half for calibration and half for testing.
    folds
        Folds of the cross-validation; 0: none.
    measured
        Labelled measured maps to add, each in seven variants (`models.apt.training.measured_maps`); None: none.
    bf16
        Matrix products in half precision (bfloat16).
    """

    name: str
    version: str
    library: LibrarySpec = field(default_factory=lambda: load_library_spec("published"))
    disordered: int = PUBLISHED_DISORDERED
    ordered: int = PUBLISHED_ORDERED
    held_out: int = 600
    folds: int = FOLDS
    epochs: int = EPOCHS
    measured: Path | None = None
    seed: int = 1
    threads: int = 1
    device: str = "cpu"
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.library.map_shape != SdmInput.paper().shape:
            raise InputError("the published network needs maps of one pair in the window 'paper'")
        if min(self.disordered, self.ordered) < 32:
            raise InputError("at least 32 maps of each class are needed")
        if self.held_out < 40:
            raise InputError(
                f"{self.held_out} held-out maps are too few for calibration and testing: at least 40 are needed"
            )
        if self.folds == 1:
            raise InputError("cross-validation needs at least two folds, or 0 for none")

    def config(self, samples: int) -> TrainingConfig:
        """Return the configuration of a network's training on this number of samples."""
        return paper_sdm_config(
            samples,
            epochs=self.epochs,
            seed=self.seed,
            threads=self.threads,
            device=self.device,
            bf16=self.bf16,
        )


def make_paper_bundle(
    recipe: PaperRecipe,
    root: Path,
    work: Path,
    on_maps: Callable[[int], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Make a bundle; called again with the same folder it resumes.

    Parameters
    ----------
    root
        Folder of bundles.
    work
        Folder for the maps, each network's log and checkpoint, and ``folds.json``.
    on_maps
        Called with the number of maps simulated or found since the last call.
    on_step
        Called with (number of the network, step, loss): first for the folds, then for the final network.

    Raises
    ------
    FileExistsError
        If that version exists.
    ValueError
        If the folder contains other maps or checkpoints, or the measured maps can't be read.
    """
    check_new_bundle(root, recipe.name, recipe.version)
    measured = None if recipe.measured is None else read_measured_maps(recipe.measured)
    training = simulated_pictures(recipe, work / "maps", on_maps)
    if measured is not None:
        training = PictureSamples.joined([training, measured_pictures(measured, recipe.seed)])
    maps, labels = library_maps(work / "maps", recipe.library, recipe.seed, HELD_OUT_FROM, recipe.held_out, on_maps)

    folds: list[Fold] = []
    if recipe.folds:
        folds = cross_validate(
            training, recipe.config, work / "training", folds=recipe.folds, seed=recipe.seed, on_step=on_step
        )
        with whole_file(work / "folds.json") as path:
            path.write_text(json.dumps([asdict(fold) for fold in folds], indent=1) + "\n", encoding="utf-8")

    def stepped(step: int, loss: float) -> None:
        if on_step is not None:
            on_step(recipe.folds, step, loss)

    network = train_paper(
        training,
        PictureSamples.of_maps(maps[::2, 0], labels[::2]),
        recipe.config(len(training)),
        work / "training" / "all",
        on_step=stepped,
    )
    return write_paper_bundle(recipe, network, len(training), maps, labels, folds, root)


def library_maps(
    folder: Path,
    spec: LibrarySpec,
    seed: int,
    first: int,
    samples: int,
    on_maps: Callable[[int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make maps of a library of single phases, or read existing ones.

    Returns
    -------
    (N, pairs, bins_z, bins_x) float32 counts and (N,) int64 labels, 1 for L1₂.
    """
    shards = [read_sdm_shard(path) for path in _shards(folder, spec, seed, first, samples, on_maps)]
    return np.concatenate([s.maps for s in shards]), np.concatenate([s.ordered for s in shards]).astype(np.int64)


def simulated_pictures(
    recipe: PaperRecipe, folder: Path, on_maps: Callable[[int], None] | None = None
) -> PictureSamples:
    """Make the recipe's number of pictures of each class; the library alternates classes, surplus ones are left out."""
    samples = 2 * max(recipe.disordered, recipe.ordered)
    parts: list[PictureSamples] = []
    for path in _shards(folder, recipe.library, recipe.seed, 0, samples, on_maps):
        shard = read_sdm_shard(path)
        parts.append(PictureSamples.of_maps(shard.maps[:, 0], shard.ordered.astype(np.int64)))
    both = PictureSamples.joined(parts)
    selected = np.concatenate(
        [np.flatnonzero(both.labels == label)[:n] for label, n in enumerate((recipe.disordered, recipe.ordered))]
    )
    return both.of(np.sort(selected))


def measured_pictures(measured: MeasuredMaps, seed: int) -> PictureSamples:
    """Draw measured maps as pictures, each in seven variants that share their origin."""
    return PictureSamples.joined(
        [
            PictureSamples.of_maps(
                np.stack(sevenfold(measured_map, seed * 100_000 + number)),
                np.full(7, label, dtype=np.int64),
                np.zeros(7, dtype=np.int64),
            )
            for number, (measured_map, label) in enumerate(zip(measured.maps, measured.labels.tolist(), strict=True))
        ]
    )


def _shards(
    folder: Path,
    spec: LibrarySpec,
    seed: int,
    first: int,
    samples: int,
    on_maps: Callable[[int], None] | None,
) -> list[Path]:
    def shard_done(done: ShardDone) -> None:
        if on_maps is not None:
            on_maps(done.asked)

    return make_sdm_library(folder, spec, seed, samples, first=first, on_shard=shard_done)


def write_paper_bundle(
    recipe: PaperRecipe,
    network: PaperSdmNet,
    trained_on: int,
    maps: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: list[Fold],
    root: Path,
) -> Path:
    """Calibrate on every other held-out pair of maps, test on the rest, and write the bundle.

    Parameters
    ----------
    maps, labels
        Held-out maps with alternating classes.
    """
    sdm = SdmInput.paper()
    number = np.arange(len(maps))
    held_out = SdmSamples(np.minimum(maps, np.iinfo(np.uint16).max).astype(np.uint16), labels, number // 2)
    calibration, test = held_out.of(held_out.volume % 2 == 0), held_out.of(held_out.volume % 2 == 1)
    with torch.no_grad():
        # 96 % of all weights: half precision halves the size of the bundle
        network.dense.weight.copy_(network.dense.weight.half().float())
    graph = calibrated_graph(
        DrawnSdmNet(network, sdm.window.shape),
        sdm_input_spec(sdm),
        lambda runtime: fit_sdm_trust(runtime, calibration),
        stored=in_half_storage,
    )
    world = recipe.library
    statement = BundleStatement(
        name=recipe.name,
        version=recipe.version,
        task=ORDER_TASK,
        classes=CLASSES,
        symmetry_copies=1,
        valid_domain=ValidDomain(
            notes=(
                f"blur along z {world.sigma_z_disordered_nm[0]} to {world.sigma_z_disordered_nm[1]} nm in disordered, "
                f"{world.sigma_z_ordered_nm[0]} to {world.sigma_z_ordered_nm[1]} nm in ordered cubes, across "
                f"{world.sigma_xy_nm[0]} to {world.sigma_xy_nm[1]} nm",
                f"tilts {world.tilt_deg[0]:g} to {world.tilt_deg[1]:g} degrees",
                f"detection efficiency {world.efficiency[0]} to {world.efficiency[1]}",
                "cubes of one phase: a whole cube is judged, not its central voxel",
            )
        ),
        provenance=Provenance(
            training_sets={} if recipe.measured is None else _hashes(recipe.measured),
            code_version=tool_version(),
            seed=recipe.seed,
            network="paper",
            specifications=(world.digest(),),
        ),
        metrics=sdm_metrics(graph.runtime, test, graph.fit.temperature, len(test)),
    )
    return finish_bundle(
        root,
        graph,
        statement,
        trained=network,
        golden=calibration.maps[:_GOLDEN],
        card=lambda manifest: _card(manifest, recipe, trained_on, folds),
        weights=_stored(network),
    )


def _stored(network: PaperSdmNet) -> dict[str, Tensor]:
    """Return the weights as stored: those of the dense layer were rounded to half precision."""
    state = network.state_dict()
    return {**state, "dense.weight": state["dense.weight"].half()}


def _hashes(path: Path) -> dict[str, str]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    names = [path.name] if path.is_file() else [file.relative_to(path).as_posix() for file in files]
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in zip(names, files, strict=True)}


def _card(manifest: Manifest, recipe: PaperRecipe, trained_on: int, folds: list[Fold]) -> str:
    metrics = manifest.metrics
    scores = (
        ""
        if metrics is None
        else f"{metrics.accuracy:.2%} of {metrics.samples} held-out maps of this kind are classified correctly.\n"
    )
    rows = "".join(
        f"| {n + 1} | {fold.trained_on} | {fold.tested_on} | {fold.loss:.4f} | {fold.accuracy:.4f} |\n"
        for n, fold in enumerate(folds)
    )
    if rows:
        rows = f"\n| fold | trained on | tested on | loss, nats | accuracy |\n|---|---|---|---|---|\n{rows}"
    notes = "\n".join(f"- {note}" for note in manifest.valid_domain.notes)
    added = "" if recipe.measured is None else ", including the user's measured maps in seven variants each"
    return (
        f"# {manifest.id}\n\nThe network of Li et al., npj Comput. Mater. 7, 8 (2021), trained as published: "
        "determines whether a cube of 4 nm of an atom probe reconstruction is L1₂-ordered, from the picture of the "
        "host's zx-map. For comparison only: use `apt-l12`.\n\n"
        f"## Training data\n\n{trained_on} pictures{added}; simulated: {recipe.disordered} disordered, "
        f"{recipe.ordered} L1₂ (the publication: {PUBLISHED_DISORDERED} and {PUBLISHED_ORDERED}). "
        f"{recipe.epochs} epochs of RMSprop at 1e-3, batches of 32{_PRECISION[recipe.bf16]}. The dense layer's weights "
        f"were then rounded to half precision.\n\n{notes}\n\n## Scores\n\n{scores}{rows}\n"
        "## Limits\n\nIf the ranges of the blur along z differ by class, as in the published table, the network may "
        "take blur for order, and with that table it does: docs/explanation/published-order-network.md. It was trained "
        "without cubes that a precipitate fills partly.\n\n"
        f"## Made by\n\n`braggwatch apt train-paper --name {recipe.name} --version {recipe.version} --disordered "
        f"{recipe.disordered} --ordered {recipe.ordered} --held-out {recipe.held_out} --folds {recipe.folds} --epochs "
        f"{recipe.epochs}{' --bf16' if recipe.bf16 else ''} --seed {recipe.seed}`, library "
        f"specification {recipe.library.digest()}\n"
    )

"""Make an order bundle: simulate maps, train the ensemble, calibrate on other volumes, write the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from braggwatch.models.apt.order_bundle import order_rule
from braggwatch.models.apt.order_rule import OrderRule
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.apt.training.ensemble import MEMBERS, sdm_config, train_ensemble
from braggwatch.models.apt.training.sample_files import make_samples
from braggwatch.models.apt.training.samples import SdmSamples
from braggwatch.models.apt.training.training_world import TrainingWorld
from braggwatch.models.apt.training.trust_fitting import fit_sdm_trust, run_samples
from braggwatch.models.bundling.finishing import BundleStatement, calibrated_graph, finish_bundle
from braggwatch.models.bundling.manifest import BundleMetrics, InputSpec, Manifest, Provenance, ValidDomain, task_json
from braggwatch.models.bundling.registry import check_new_bundle
from braggwatch.models.bundling.tasks import ORDER_TASK
from braggwatch.models.learning.training_config import TrainingConfig
from braggwatch.models.networks.sdm import SdmEnsemble
from braggwatch.models.runtimes.base import Runtime
from braggwatch.models.uncertainty.calibration import expected_calibration_error
from braggwatch.services.apt.training.rule import find_rule
from braggwatch.services.version import tool_version
from braggwatch.sim.errors import InputError

CLASSES = ("fcc", "l12")
HELD_OUT_FROM = 1_000_000
"""Number of the first held-out volume: training volumes have smaller ones."""
RULE_FROM = 2_000_000
"""Number of the first volume that the rule is fitted to."""
_GOLDEN = 8


@dataclass(frozen=True, slots=True)
class OrderRecipe:
    """Recipe of an order bundle.

    Attributes
    ----------
    volumes, held_out
        Small volumes for training; others, half for calibration and half for testing.
    rule_volumes
        Further, whole volumes that the rule for a map of scores is fitted to.
    """

    name: str
    version: str
    volumes: int = 420
    held_out: int = 40
    rule_volumes: int = 200
    members: int = MEMBERS
    world: TrainingWorld = field(default_factory=TrainingWorld)
    sdm: SdmInput = field(default_factory=SdmInput)
    config: TrainingConfig = field(default_factory=sdm_config)

    def __post_init__(self) -> None:
        if not self.members <= self.volumes < HELD_OUT_FROM:
            raise InputError(f"{self.volumes} volumes: at least one per member is needed")
        if self.held_out < 8:
            raise InputError(
                f"{self.held_out} held-out volumes are too few for calibration and testing: at least 8 are needed"
            )
        if self.rule_volumes < 5:
            raise InputError(f"{self.rule_volumes} volumes are too few for a rule: at least 5 are needed")


def make_order_bundle(
    recipe: OrderRecipe,
    root: Path,
    work: Path,
    on_volume: Callable[[int, int], None] | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Make a bundle; called again with the same folder it resumes.

    Parameters
    ----------
    root
        Folder of bundles.
    work
        Folder for the samples and each member's log and checkpoint.
    on_volume
        Called with (volumes simulated, volumes in total).
    on_step
        Called with (member, step, loss).

    Raises
    ------
    FileExistsError
        If that version exists.
    ValueError
        If the folder contains another recipe's samples or checkpoints.
    """
    check_new_bundle(root, recipe.name, recipe.version)
    total = recipe.volumes + recipe.held_out + recipe.rule_volumes
    seed = recipe.config.seed

    def samples_of(numbers: range, before: int) -> SdmSamples:
        def volume_done(done: int, _of: int) -> None:
            if on_volume is not None:
                on_volume(before + done, total)

        return make_samples(
            work / "samples",
            recipe.world,
            recipe.sdm,
            numbers,
            seed=seed,
            on_volume=volume_done,
        )

    training = samples_of(range(recipe.volumes), 0)
    held_out = samples_of(range(HELD_OUT_FROM, HELD_OUT_FROM + recipe.held_out), recipe.volumes)
    network = train_ensemble(
        training, recipe.sdm, recipe.config, work / "training", members=recipe.members, on_step=on_step
    )

    def rule_volume_done(done: int, _of: int) -> None:
        if on_volume is not None:
            on_volume(recipe.volumes + recipe.held_out + done, total)

    with TemporaryDirectory(prefix="braggwatch-") as folder:
        without = write_order_bundle(recipe, network, training, held_out, Path(folder))
        rule = find_rule(
            without,
            recipe.world,
            range(RULE_FROM, RULE_FROM + recipe.rule_volumes),
            work / "scored",
            seed=seed,
            on_volume=rule_volume_done,
        )
    return write_order_bundle(recipe, network, training, held_out, root, rule)


def write_order_bundle(
    recipe: OrderRecipe,
    network: SdmEnsemble,
    training: SdmSamples,
    held_out: SdmSamples,
    root: Path,
    rule: OrderRule | None = None,
) -> Path:
    """Calibrate on every other held-out volume, test on the rest, and write the bundle."""
    volumes = np.unique(held_out.volume)
    calibration = held_out.of(np.isin(held_out.volume, volumes[::2]))
    test = held_out.of(np.isin(held_out.volume, volumes[1::2]))
    graph = calibrated_graph(network, sdm_input_spec(recipe.sdm), lambda runtime: fit_sdm_trust(runtime, calibration))
    world = recipe.world
    statement = BundleStatement(
        name=recipe.name,
        version=recipe.version,
        task=ORDER_TASK,
        classes=CLASSES,
        symmetry_copies=1,
        order_rule=None if rule is None else task_json(rule),
        valid_domain=ValidDomain(
            notes=(
                f"planes {100 * (1 - world.spacing[0]):.0f} % closer to {100 * (world.spacing[1] - 1):.0f} % wider "
                f"than {recipe.sdm.plane_spacing_nm} nm, tilts to {world.largest_tilt_deg:g} degrees",
                f"blur along z {world.sigma_z_nm[0]} to {world.sigma_z_nm[1]} nm in either phase, across "
                f"{world.sigma_xy_nm[0]} to {world.sigma_xy_nm[1]} nm",
                f"detection efficiency {world.efficiency[0]} to {world.efficiency[1]}",
                f"solute in the matrix {world.matrix_solute[0]:.0%} to {world.matrix_solute[1]:.0%}",
            )
        ),
        provenance=Provenance(
            training_sets={"maps": hashlib.sha256(training.maps.tobytes() + training.labels.tobytes()).hexdigest()},
            code_version=tool_version(),
            seed=recipe.config.seed,
            network=f"centre-voxel, {recipe.members} members",
        ),
        metrics=sdm_metrics(graph.runtime, test, graph.fit.temperature, len(np.unique(test.volume))),
    )
    return finish_bundle(
        root,
        graph,
        statement,
        trained=network,
        golden=calibration.maps[:: max(1, len(calibration) // _GOLDEN)][:_GOLDEN],
        card=lambda manifest: _card(manifest, recipe, len(training), len(test)),
    )


def sdm_input_spec(sdm: SdmInput) -> InputSpec:
    """Return how a manifest states an input of spatial distribution maps."""
    return InputSpec(axes=("pair", "dz", "dx"), shape=sdm.shape, normalisation="network", sdm=task_json(sdm))


def sdm_metrics(runtime: Runtime, test: SdmSamples, temperature: float, configurations: int) -> BundleMetrics:
    """Return what a graph of two classes reaches on maps that nothing was fitted to."""
    logits, _ = run_samples(runtime, test)
    scaled = logits / temperature
    probabilities = np.exp(scaled - np.logaddexp(scaled[:, :1], scaled[:, 1:]))
    return BundleMetrics(
        samples=len(test),
        configurations=configurations,
        accuracy=float((logits.argmax(1) == test.labels).mean()),
        expected_calibration_error=expected_calibration_error(probabilities, test.labels),
    )


def _card(manifest: Manifest, recipe: OrderRecipe, samples: int, tested: int) -> str:
    metrics = manifest.metrics
    scores = (
        ""
        if metrics is None
        else f"{metrics.accuracy:.1%} of {tested} atoms get the correct phase, in {metrics.configurations} volumes not "
        f"used in training or calibration; expected calibration error {metrics.expected_calibration_error:.3f}. A "
        "voxel at a precipitate's surface contains atoms of both phases, so 100 % is impossible.\n"
    )
    rule = order_rule(manifest)
    if rule is not None and rule.precision is not None and rule.recall is not None:
        scores += (
            f"\nVoxels are classified by a rule over their neighbourhood, fitted to {rule.volumes} whole simulated "
            f"volumes; in {rule.tested_volumes} others the precision for ordered voxels is {rule.precision:.1%}, the "
            f"recall {rule.recall:.1%}.\n"
        )
    notes = "\n".join(f"- {note}" for note in manifest.valid_domain.notes)
    return (
        f"# {manifest.id}\n\nDetermines whether the central voxel of a {recipe.sdm.cube_voxels}-nm cube of an atom "
        "probe reconstruction is L1₂-ordered, from the spatial distribution maps of host and solute. Used by "
        "`braggwatch apt scan`.\n\n"
        f"## Training data\n\n{samples} cubes of {recipe.volumes} simulated volumes of "
        f"{recipe.world.edge_nm:g} nm with precipitates of {recipe.world.radius_nm[0]} to {recipe.world.radius_nm[1]} "
        "nm. Every nuisance parameter has the same range in both phases; some volumes have order without a difference "
        "in composition, others clusters without order.\n\n"
        f"{notes}\n\n## Scores\n\n{scores}\n## Limits\n\nSimulated crystals only: no dislocations, no grain "
        "boundaries, one host and one solute, spherical precipitates, planes {022} of an fcc host across z. Its "
        "results are unreliable without resolved planes; `apt scan` rejects such data.\n\n"
        f"## Made by\n\n`braggwatch apt train --name {recipe.name} --version {recipe.version} --volumes "
        f"{recipe.volumes} --held-out {recipe.held_out} --rule-volumes {recipe.rule_volumes} "
        f"--steps {recipe.config.steps} --members {recipe.members} "
        f"--seed {recipe.config.seed}`\n"
    )

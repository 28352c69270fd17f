"""How often blur is taken for order, or sharpness for disorder: docs/images/apt-shortcut.png and four tables.

``python docs/measure_apt_shortcut.py --registry DIR --bundle 'published table=apt-l12-paper/1.1.0' …`` simulates cubes
of one phase by the published table of parameters, but of both phases at every blur along z, and asks each bundle about
the same cubes. Beside them stands what a single number of the map tells, `half_order_amplitude`, with one cut for all
blurs: what that gets right the blur hasn't destroyed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.stats import binomtest

from braggwatch.models.apt.area import area_under_curve
from braggwatch.models.apt.modulation import half_order_amplitude
from braggwatch.models.apt.order_bundle import sdm_input_of
from braggwatch.models.apt.sdm_input import SdmInput
from braggwatch.models.bundling.bundle import Bundle
from braggwatch.models.bundling.registry import Registry
from braggwatch.models.cxdp.scores import wilson_interval
from braggwatch.models.runtimes.factory import open_runtime
from braggwatch.services.apt.training.labelled_maps import judge_maps, library_cubes
from braggwatch.services.cli.console import clear_errors, counted_progress
from braggwatch.sim.apt.library import Range, load_library_spec
from braggwatch.sim.whole_file import whole_file

PICTURE = Path(__file__).resolve().parent / "images" / "apt-shortcut.png"
BLUR_NM = (0.01, 0.02, 0.03, 0.04, 0.05, 0.055, 0.06, 0.065)
SEED = 4_711
CUT_SEED = 4_712
"""Of the cubes that give the single number its cut."""
FILTER = "one number"
_BAND = (("σz < 0.02", 0.01, 0.02), ("σz ≥ 0.04", 0.04, 0.065), ("σz ≥ 0.05", 0.05, 0.065))


@dataclass(frozen=True, slots=True)
class Calls:
    """What one judge calls cubes of both phases between two blurs; the same cubes, in the same order, for all judges.

    Attributes
    ----------
    score
        (N,) log-odds of L1₂, or the single number.
    ordered
        (N,) bool, the truth.
    cut
        A score above it is a call of L1₂.
    """

    judge: str
    sigma_z_nm: Range
    score: NDArray[np.float32]
    ordered: NDArray[np.bool_]
    cut: float = 0.0

    def wrong(self, phase: bool) -> NDArray[np.bool_]:
        """(M,) bool: of the cubes of one phase, which are called the other."""
        return (self.score[self.ordered == phase] > self.cut) != phase


def main(
    bundle: Annotated[
        list[str], typer.Option(help="WHAT=NAME/VERSION; again for more. The others are compared with the first.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for cubes and calls, taken up again where there.")],
    registry: Annotated[Path | None, typer.Option(help="Folder of bundles; else those of the package.")] = None,
    cubes: Annotated[int, typer.Option(min=10, help="Of each phase in each interval of blur.")] = 400,
    picture: Annotated[bool, typer.Option(help="Write docs/images/apt-shortcut.png.")] = True,
) -> None:
    """Measure, print tables, draw."""
    with clear_errors():
        named = {
            what: Bundle.load(Registry(registry).resolve(name)) for what, name in (b.split("=", 1) for b in bundle)
        }
        out.mkdir(parents=True, exist_ok=True)
        found: list[Calls] = []
        other_cuts: dict[str, float] = {}
        blurs = list(itertools.pairwise(BLUR_NM))
        with counted_progress() as progress:
            task = progress.add_task("cubes", total=(len(named) + 1) * (len(blurs) + 1))
            for what, one in [*named.items(), (FILTER, None)]:
                other_cuts[what] = _best_cut(*_scores(out, one, CUT_SEED, (BLUR_NM[0], BLUR_NM[-1]), cubes))
                progress.advance(task)
                for blur in blurs:
                    scores = _scores(out, one, SEED, blur, cubes)
                    found.append(Calls(what, blur, *scores, 0.0 if one is not None else other_cuts[what]))
                    progress.advance(task)
        judges = [*named, FILTER]
        for phase, title in ((False, "fcc called L1₂"), (True, "L1₂ missed")):
            typer.echo(f"{title}, per cent\n{_rates(found, judges, phase)}\n")
        typer.echo(f"{_tests(found, judges)}\n\n{_ranks(found, judges, other_cuts)}\n")
        typer.echo(f"{datetime.now(UTC).date()}, {cubes} cubes of each phase in each interval")
        if picture:
            _draw(found, judges)


def _cubes(
    out: Path, sdm: SdmInput, seed: int, blur_nm: Range, cubes: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Simulate, or read, maps of as many cubes of each phase."""
    kind = "x".join(str(n) for n in sdm.shape)
    path = out / f"cubes-{kind}-{seed}-{blur_nm[0]:g}-{blur_nm[1]:g}-{cubes}.npz"
    if not path.exists():
        spec = load_library_spec("published").model_copy(
            update={"sigma_z_disordered_nm": blur_nm, "sigma_z_ordered_nm": blur_nm}
        )
        maps, ordered = library_cubes(spec, sdm, seed, range(2 * cubes))
        with whole_file(path) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, maps=maps.astype(np.uint16), ordered=ordered)
    with np.load(path) as archive:
        return archive["maps"].astype(np.float32), archive["ordered"]


def _scores(
    out: Path, bundle: Bundle | None, seed: int, blur_nm: Range, cubes: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what a bundle, or the single number (None), says of the cubes, and the truth."""
    if bundle is None:
        maps, ordered = _cubes(out, SdmInput.paper(), seed, blur_nm, cubes)
        return half_order_amplitude(maps[:, 0], SdmInput.paper()), ordered
    path = out / f"{bundle.sha256[:12]}-{seed}-{blur_nm[0]:g}-{blur_nm[1]:g}-{cubes}.npz"
    if not path.exists():
        maps, ordered = _cubes(out, sdm_input_of(bundle), seed, blur_nm, cubes)
        runtime, _ = open_runtime(bundle, "onnxruntime-cpu")
        said = judge_maps(runtime, bundle.manifest.temperature, maps, ordered)
        with whole_file(path) as partial, partial.open("wb") as stream:
            np.savez(stream, log_odds=said.log_odds, ordered=said.ordered)
    with np.load(path) as archive:
        return archive["log_odds"], archive["ordered"]


def _best_cut(score: NDArray[np.float32], ordered: NDArray[np.bool_]) -> float:
    """Return the cut by which fewest are wrong; the middle one of such."""
    cuts = np.sort(score)
    wrong = np.array([int(((score > cut) != ordered).sum()) for cut in cuts])
    best = np.flatnonzero(wrong == wrong.min())
    return float(cuts[best[len(best) // 2]])


def _share(wrong: NDArray[np.bool_]) -> str:
    low, high = wilson_interval(int(wrong.sum()), len(wrong))
    return f"{100 * wrong.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _rates(found: list[Calls], judges: list[str], phase: bool) -> str:
    lines = [f"| σz, nm | {' | '.join(judges)} |", f"|---|{'---|' * len(judges)}"]
    for blur in itertools.pairwise(BLUR_NM):
        row = [_share(_of(found, what, blur).wrong(phase)) for what in judges]
        lines.append(f"| {blur[0]:g} to {blur[1]:g} | {' | '.join(row)} |")
    return "\n".join(lines)


def _tests(found: list[Calls], judges: list[str]) -> str:
    """Tell of each judge if it leans to a phase, and if it is wrong less often than the first about the same cubes."""
    lines = [
        "| judge | blur | fcc wrong | L1₂ wrong | lean, p | fcc: only first, only this wrong | p "
        "| L1₂: only first, only this wrong | p |",
        f"|{'---|' * 9}",
    ]
    for what, (name, low, high) in itertools.product(judges, _BAND):
        blurs = [blur for blur in itertools.pairwise(BLUR_NM) if low <= blur[0] and blur[1] <= high]
        wrong = {
            (judge, phase): np.concatenate([_of(found, judge, blur).wrong(phase) for blur in blurs])
            for judge in (judges[0], what)
            for phase in (False, True)
        }
        fcc, l12 = int(wrong[what, False].sum()), int(wrong[what, True].sum())
        cells = [what, f"{name}, {len(wrong[what, False])} of each", str(fcc), str(l12), _even(fcc, l12)]
        for phase in (False, True):
            first = int((wrong[judges[0], phase] & ~wrong[what, phase]).sum())
            this = int((wrong[what, phase] & ~wrong[judges[0], phase]).sum())
            cells += [f"{first}, {this}", _even(first, this)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ranks(found: list[Calls], judges: list[str], cuts: dict[str, float]) -> str:
    """Tell what doesn't hang on the cut at even odds: who stands above whom, the errors by a cut fitted elsewhere."""
    lines = [
        "| judge | area: sharp L1₂ above blurred fcc | cut | fcc wrong, σz ≥ 0.05 | L1₂ wrong, σz ≥ 0.05 | lean, p "
        "| L1₂ wrong, σz < 0.02 |",
        f"|{'---|' * 7}",
    ]
    for what in judges:
        moved = [replace(one, cut=cuts[what]) for one in found if one.judge == what]
        blurred = [one for one in moved if one.sigma_z_nm[0] >= 0.05]
        sharp = [one for one in moved if one.sigma_z_nm[1] <= 0.02]
        area = area_under_curve(
            np.concatenate([one.score[one.ordered] for one in sharp]),
            np.concatenate([one.score[~one.ordered] for one in blurred]),
        )
        wrong = [np.concatenate([one.wrong(phase) for one in blurred]) for phase in (False, True)]
        missed = np.concatenate([one.wrong(True) for one in sharp])
        cells = [what, f"{area.area:.4f} ({area.low:.4f} to {area.high:.4f})", f"{cuts[what]:.3g}"]
        cells += [_share(wrong[0]), _share(wrong[1]), _even(int(wrong[0].sum()), int(wrong[1].sum())), _share(missed)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _even(one: int, other: int) -> str:
    """Probability of counts as uneven as these, or more so, if either were as likely (exact, two-sided)."""
    return "–" if one + other == 0 else f"{binomtest(one, one + other).pvalue:.2g}"


def _of(found: list[Calls], judge: str, blur: Range) -> Calls:
    return next(one for one in found if (one.judge, one.sigma_z_nm) == (judge, blur))


def _draw(found: list[Calls], judges: list[str]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    blurs = list(itertools.pairwise(BLUR_NM))
    middle = [500 * sum(blur) for blur in blurs]
    for axis, phase, name in zip(axes, (False, True), ("disordered cubes", "L1₂ cubes"), strict=True):
        for color, what in zip(("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#000000"), judges, strict=False):
            wrong = [_of(found, what, blur).wrong(phase) for blur in blurs]
            share = np.array([one.mean() for one in wrong])
            low, high = np.array([wilson_interval(int(one.sum()), len(one)) for one in wrong]).T
            bars = 100 * np.clip([share - low, high - share], 0, None)
            axis.errorbar(middle, 100 * share, bars, color=color, marker="o", markersize=4, capsize=2, label=what)
        axis.axvspan(*((10, 40) if not phase else (30, 55)), color="0.92", zorder=0)
        axis.set(xlabel="blur along z, σz, pm", title=name, yscale="symlog", ylim=(-0.3, 110))
        axis.set_yscale("symlog", linthresh=2)
        axis.set_yticks([0, 1, 2, 5, 10, 20, 50, 100], ["0", "1", "2", "5", "10", "20", "50", "100"])
    axes[0].set_ylabel("called the other phase, %")
    axes[0].legend(fontsize=8, loc="upper left")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    typer.run(main)

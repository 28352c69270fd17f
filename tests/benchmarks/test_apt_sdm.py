"""How long the maps of a reconstruction take, beside the published way, in processor seconds of one core.

``pytest -m benchmark tests/benchmarks/test_apt_sdm.py -s`` prints the figures. The published way (Li et al. 2021) cuts
each cube out, asks a kd-tree for its neighbours and makes a histogram of them. It is timed on a sample of cubes in the
same run and scaled to all of them. Processor time, not wall time: the figures hold on a busy machine, too.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from braggwatch.sim.apt.grid import VoxelGrid
from braggwatch.sim.apt.model import LabelledIons, label_ions
from braggwatch.sim.apt.scan import ScanSettings, scan_blocks
from braggwatch.sim.apt.sdm import FIVE_CHANNELS, PAPER, SdmWindow, kdtree_sdm, zx_sdm
from braggwatch.sim.apt.sdm_fft import fft_sdm
from braggwatch.sim.apt.volume import load_volume_spec, simulate_volume

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

T = TypeVar("T")
AL = (("Al", "Al"),)
PAPER_GRID = VoxelGrid((0.0, 0.0, 0.0), (38, 36, 88))
"""35 x 33 x 85 = 98 175 cubes of 4 nm, as many as the paper scanned."""
SAMPLE = 20


def timed(work: Callable[[], T]) -> tuple[T, float]:
    before = time.process_time()
    result = work()
    return result, time.process_time() - before


@lru_cache(maxsize=1)
def paper_sized() -> LabelledIons:
    spec = load_volume_spec("A").model_copy(update={"size_nm": (38.0, 36.0, 88.0)})
    return label_ions(simulate_volume(spec, 0).cloud, spec.resolved_alloy().ranges())


def label_small() -> LabelledIons:
    spec = load_volume_spec("A").sized_for(3e4)
    return label_ions(simulate_volume(spec, 0).cloud, spec.resolved_alloy().ranges())


def scan_some(
    ions: LabelledIons, window: SdmWindow, grid: VoxelGrid | None, keep: set[tuple[int, int, int]]
) -> tuple[int, dict[tuple[int, int, int], NDArray[np.float32]]]:
    """Scan all cubes, keeping only the maps of some."""
    cubes = 0
    kept: dict[tuple[int, int, int], NDArray[np.float32]] = {}
    for block in scan_blocks(ions, AL, ScanSettings(window=window), grid=grid):
        cubes += block.ions.size
        for i, j, k in keep:
            if i == block.i and block.j <= j < block.j + len(block.maps):
                kept[i, j, k] = block.maps[j - block.j, k, 0].copy()
    return cubes, kept


def one_cube(
    ions: LabelledIons, window: SdmWindow, low: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut out a cube of 4 nm with what its ions can see; also which of its ions are in the cube."""
    p = ions.positions_nm[ions.species == ions.index("Al")]
    reach = np.array(window.reach_nm)
    near = p[((p >= low - reach) & (p < np.add(low, 4) + reach)).all(axis=1)]
    return near, np.asarray(((near >= low) & (near < np.add(low, 4))).all(axis=1))


def test_the_cubes_of_the_paper() -> None:
    window = FIVE_CHANNELS
    ions = paper_sized()
    rng = np.random.default_rng(0)
    n = PAPER_GRID.cubes(4)
    chosen = {(int(rng.integers(n[0])), int(rng.integers(n[1])), int(rng.integers(n[2]))) for _ in range(SAMPLE)}
    scan_some(ions, window, VoxelGrid((10.0, 10.0, 10.0), (5, 5, 5)), set())  # compiles
    (cubes, kept), ours = timed(lambda: scan_some(ions, window, PAPER_GRID, chosen))
    assert cubes == 98_175

    cut = {low: one_cube(ions, window, low) for low in chosen}
    theirs, seconds = timed(lambda: {low: kdtree_sdm(p, window, centres=inside) for low, (p, inside) in cut.items()})
    worst = max(float(np.abs(kept[low] / kept[low].sum() - theirs[low] / theirs[low].sum()).sum()) for low in chosen)
    paper_cut = [one_cube(ions, PAPER, low) for low in list(chosen)[:10]]
    _, paper_seconds = timed(lambda: [kdtree_sdm(p, PAPER, centres=inside) for p, inside in paper_cut])
    _, direct = timed(lambda: [zx_sdm(p, window, centres=inside) for p, inside in cut.values()])
    all_dy = SdmWindow(half_y_nm=np.inf, bins_x=93)
    _, fourier = timed(lambda: [fft_sdm(p[inside], all_dy) for p, inside in cut.values()])
    kdtree_all = seconds / len(chosen) * cubes
    print(  # noqa: T201 the figures are the result
        f"\n{len(ions)} ions, {cubes} cubes of 4 nm, {window.bins_z} x {window.bins_x} bins, CPU s:"
        f"\n  shared scan {ours:.1f} ({ours / cubes * 1e3:.3f} ms a cube)"
        f"\n  kd-tree, same window {kdtree_all:.0f} ({seconds / len(chosen) * 1e3:.1f} ms a cube, {len(chosen)} timed)"
        f"\n  kd-tree, the paper's ball and bins {paper_seconds / 10 * cubes:.0f} "
        f"({paper_seconds * 100:.1f} ms a cube, 10 timed)"
        f"\n  columns, cube by cube {direct / len(chosen) * 1e3:.2f} ms a cube"
        f"\n  Fourier transform, 93 x 93, any dy {fourier / len(chosen) * 1e3:.2f} ms a cube"
        f"\n  largest L1 difference of a map {worst:.1e}"
    )
    assert worst < 1e-5
    assert ours < kdtree_all / 20


def test_time_and_memory_grow_as_the_ions() -> None:
    scan_some(label_small(), FIVE_CHANNELS, None, set())  # compiles
    per_ion: list[float] = []
    for count in (3e5, 1e6, 3e6):
        spec = load_volume_spec("A").sized_for(count)
        volume, simulating = timed(lambda spec=spec: simulate_volume(spec, 1))
        ions = label_ions(volume.cloud, spec.resolved_alloy().ranges())
        tracemalloc.start()  # costs nothing here: the scan makes few arrays, each large
        (cubes, _), seconds = timed(lambda ions=ions: scan_some(ions, FIVE_CHANNELS, None, set()))
        per_ion.append(seconds / len(ions))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(  # noqa: T201 the figures are the result
            f"\n{len(ions)} ions: simulated in {simulating:.1f} CPU s; {cubes} cubes scanned in {seconds:.1f} CPU s "
            f"({per_ion[-1] * 1e6:.2f} us an ion), "
            f"{peak / 1e6:.0f} MB beside the ions ({peak / len(ions):.0f} bytes an ion)"
        )
        assert peak < 256e6 + 120 * len(ions)
    assert max(per_ion) < 2 * min(per_ion)

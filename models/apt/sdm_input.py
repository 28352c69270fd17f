"""What the centre-voxel network looks at: which pairs of species, in which cube, into which bins.

It is part of a bundle's manifest and so needs nothing that counts maps until it is asked to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from braggwatch.sim.apt.scan import ScanSettings
    from braggwatch.sim.apt.sdm import SdmWindow

HOST, SOLUTE = "host", "solute"
PAIRS = ((HOST, HOST), (SOLUTE, SOLUTE), (HOST, SOLUTE))


class SdmInput(BaseModel):
    """How the maps are counted that a network takes; part of its bundle.

    The network's input is (pairs, bins_z, bins_x) float32 counts of the pairs host-host, solute-solute and host-solute,
    centres in a cube, neighbours anywhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    voxel_nm: float = Field(default=1.0, gt=0, description="Stride of the scan.")
    cube_voxels: int = Field(default=3, ge=1, description="Edge of the cube of centres.")
    half_x_nm: float = Field(default=0.7, gt=0)
    half_y_nm: float = Field(default=0.7, gt=0)
    half_z_nm: float = Field(default=0.6975, gt=0)
    bins_x: int = Field(default=5, ge=1)
    bins_z: int = Field(default=93, ge=1)
    ball_nm: float | None = Field(default=None, gt=0, description="Longest offset; none: the window alone decides.")
    pairs: tuple[tuple[str, str], ...] = PAIRS
    plane_spacing_nm: float = Field(
        default=0.1432,
        gt=0,
        description="Spacing of the planes trained on; data are scaled to it before they are counted.",
    )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(pairs, bins_z, bins_x) of one input."""
        return len(self.pairs), self.bins_z, self.bins_x

    @property
    def window(self) -> SdmWindow:
        """The offsets and bins."""
        from braggwatch.sim.apt.sdm import SdmWindow

        return SdmWindow(self.half_x_nm, self.half_y_nm, self.half_z_nm, self.bins_x, self.bins_z, self.ball_nm)

    @classmethod
    def paper(cls) -> SdmInput:
        """Return the input of Li et al. 2021: the host's own map in a ball of 1.5 nm, cubes of 4 nm."""
        from braggwatch.sim.apt.sdm import PAPER

        return cls(
            cube_voxels=4,
            half_x_nm=PAPER.half_x_nm,
            half_y_nm=PAPER.half_y_nm,
            half_z_nm=PAPER.half_z_nm,
            bins_x=PAPER.bins_x,
            bins_z=PAPER.bins_z,
            ball_nm=PAPER.ball_nm,
            pairs=((HOST, HOST),),
        )

    def scan_settings(self, memory_MB: float = 256.0) -> ScanSettings:
        """Return what `braggwatch.sim.apt.scan` needs."""
        from braggwatch.sim.apt.scan import ScanSettings

        return ScanSettings(self.window, self.voxel_nm, self.cube_voxels, memory_MB)

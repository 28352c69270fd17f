"""Forward physics: geometry, crystals, scattering, noise, data sets, simulated beamline.

The lowest layer: every other layer may import it, and it imports none of them.

Which Burgers directions a reflection can't see, and the geometry of a beamline:

>>> from braggwatch.sim import load_preset, preset_names, visibility
>>> visibility((1, 1, 1), "fcc").short
'as far as 111 sees: blind to 3 of 6 Burgers directions'
>>> preset_names()
('34idc', 'simulated')
>>> load_preset("34idc").scanned
'th'
"""

from __future__ import annotations

from braggwatch.sim.lazy_names import lazy_names

# Type checkers take this name for true. Importing typing for it would double the time that importing the package takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from braggwatch.sim.crystallography.visibility import Visibility, visibility
    from braggwatch.sim.cxdp.dataset_spec import DatasetSpec
    from braggwatch.sim.geometry.model import Circle, DetectorTilt, GeometryPreset, RockingGeometry
    from braggwatch.sim.geometry.preset_files import load_preset, preset_names
    from braggwatch.sim.geometry.q import pixel_q
    from braggwatch.sim.geometry.resolve import MissingGeometry, geometry_from_values
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Circle": "braggwatch.sim.geometry.model",
            "DatasetSpec": "braggwatch.sim.cxdp.dataset_spec",
            "DetectorTilt": "braggwatch.sim.geometry.model",
            "GeometryPreset": "braggwatch.sim.geometry.model",
            "MissingGeometry": "braggwatch.sim.geometry.resolve",
            "RockingGeometry": "braggwatch.sim.geometry.model",
            "Visibility": "braggwatch.sim.crystallography.visibility",
            "geometry_from_values": "braggwatch.sim.geometry.resolve",
            "load_preset": "braggwatch.sim.geometry.preset_files",
            "pixel_q": "braggwatch.sim.geometry.q",
            "preset_names": "braggwatch.sim.geometry.preset_files",
            "visibility": "braggwatch.sim.crystallography.visibility",
        },
    )

__all__ = [
    "Circle",
    "DatasetSpec",
    "DetectorTilt",
    "GeometryPreset",
    "MissingGeometry",
    "RockingGeometry",
    "Visibility",
    "geometry_from_values",
    "load_preset",
    "pixel_q",
    "preset_names",
    "visibility",
]

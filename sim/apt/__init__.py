"""Atom probe: simulated reconstructions of L1₂-ordered alloys, and spatial distribution maps of any reconstruction.

Everything of APT above imports it; CXDP and SADP don't.
"""

from braggwatch.sim.apt.model import UNRANGED, IonCloud, LabelledIons, MassRange, VolumeTruth, label_ions

__all__ = ["UNRANGED", "IonCloud", "LabelledIons", "MassRange", "VolumeTruth", "label_ions"]

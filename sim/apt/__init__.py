"""Atom probe: simulated reconstructions of L1₂-ordered alloys, and spatial distribution maps of any reconstruction.

Used by all higher APT layers; CXDP and SADP don't import it.
"""

from braggwatch.sim.apt.model import UNRANGED, IonCloud, LabelledIons, MassRange, VolumeTruth, label_ions

__all__ = ["UNRANGED", "IonCloud", "LabelledIons", "MassRange", "VolumeTruth", "label_ions"]

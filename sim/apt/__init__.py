"""Atom probe: simulated reconstructions of L1₂-ordered alloys, and spatial distribution maps of any reconstruction."""

from braggwatch.sim.apt.model import UNRANGED, IonCloud, LabelledIons, MassRange, VolumeTruth, label_ions

__all__ = ["UNRANGED", "IonCloud", "LabelledIons", "MassRange", "VolumeTruth", "label_ions"]

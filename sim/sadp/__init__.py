"""Zone-axis electron diffraction of cubic crystals: structures, kinematic and dynamical spots, class labels.

Everything above and the simulated microscope import it; CXDP and APT don't.
"""

"""Zone-axis electron diffraction of cubic crystals: structures, kinematic and dynamical spots, class labels.

Used by all higher SADP layers and the simulated microscope; CXDP and APT don't import it.
"""

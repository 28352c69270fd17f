"""Zone-axis electron diffraction of cubic crystals: structures, kinematic and dynamical spots, class labels."""

"""Forward physics: geometry, crystals, scattering, nuisance, datasets, simulated beamline."""

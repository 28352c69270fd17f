"""A simulated beamline: devices, sample and plans."""

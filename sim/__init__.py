"""Forward physics: geometry, crystals, scattering, nuisance, datasets, simulated beamline.

The ground: everything may import it, and it imports nothing of the other storeys.
"""

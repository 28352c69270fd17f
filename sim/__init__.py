"""Forward physics: geometry, crystals, scattering, noise, data sets, simulated beamline.

The lowest layer: every other layer may import it, and it imports none of them.
"""

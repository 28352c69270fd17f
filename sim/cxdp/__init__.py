"""Simulated coherent X-ray diffraction patterns: crystals, scattering, nuisance, data sets.

Training code, studies and the simulated beamline import it; the live service doesn't.
"""

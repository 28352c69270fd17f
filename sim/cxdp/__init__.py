"""Simulated coherent X-ray diffraction patterns: crystals, scattering, noise and artefacts, data sets.

Used by training code, studies and the simulated beamline; the live service doesn't import it.
"""

"""Diffraction patterns in the live service: model, storing, pictures, page routes, metrics, derived run.

Composition imports it; it imports no training.
"""

"""What the live service needs for diffraction patterns: model, storing, pictures, page routes, metrics, derived run.

Composition imports it; it imports no training.
"""

"""Lattices, Burgers vectors and their visibility at a reflection (g·b), as used in verdicts.

Everything may import it; it imports nothing from the simulation.
"""

"""Lattices, Burgers vectors and which of them a reflection sees (g·b): facts that verdicts state.

Everything may import it; it imports nothing of the simulation.
"""

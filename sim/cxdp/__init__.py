"""What is the coherent diffraction system's own in the simulations, beginning with what its samples are called.

Imported by whoever makes or reads labelled diffraction patterns; it imports no other system.
"""

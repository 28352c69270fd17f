"""What is the coherent diffraction system's own: which bundles are its, how its volumes are learnt and calibrated.

Imported by the live service, the training and the tests of this system, and by no other system.
"""

"""Find the defects in a crystal of atoms, so that its label comes from what was found, not from what was put in.

Used by configurations.
"""

"""What is in a crystal of atoms, so that its label comes from what was found and never from what was put in.

Configurations import it.
"""

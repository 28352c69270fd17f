"""Commands on electron diffraction patterns.

Only the command line's root imports it.
"""

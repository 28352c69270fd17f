"""Commands on electron diffraction patterns.

Imported only by the root of the command line.
"""

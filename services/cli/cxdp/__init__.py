"""Commands on coherent X-ray diffraction patterns.

Only the command line's root imports it.
"""

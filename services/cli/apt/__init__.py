"""Commands on atom probe reconstructions.

Only the command line's root imports it.
"""

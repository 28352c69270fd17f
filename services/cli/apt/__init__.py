"""Commands on atom probe reconstructions.

Imported only by the root of the command line.
"""

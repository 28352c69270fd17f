"""The whole system on one machine, with a simulated beamline.

The command line imports it.
"""

"""The whole system on one machine, with a simulated beamline.

Used by the command line.
"""

"""Measurements of how far a CXDP bundle reaches: the gap to real data, training regimes, phased scans.

The command line and the scripts in docs import it; the live service doesn't.
"""

"""Studies of how well a CXDP bundle generalises: the gap to real data, training regimes, phased scans.

Used by the command line and the scripts in docs; the live service doesn't import it.
"""

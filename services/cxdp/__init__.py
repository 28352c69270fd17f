"""CXDP rocking curves: live parts, offline classification of recorded runs, training and studies.

Used by the command line and the composition root; SADP and APT don't import it.
"""

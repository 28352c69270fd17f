"""Rocking curves: live service parts, offline classification of recorded runs, training and studies.

The command line and composition import it; SADP and APT don't.
"""

"""Rocking curves: live parts, recorded runs judged offline, training and studies.

The command line and composition import it; SADP and APT don't.
"""

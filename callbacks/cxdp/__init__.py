"""Rocking curves: from documents to a verdict on one Bragg peak.

Plans and services import it; SADP and APT don't.
"""

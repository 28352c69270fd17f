"""Rocking curves: from documents to a verdict on a Bragg peak.

Plans and services import it; SADP and APT don't.
"""

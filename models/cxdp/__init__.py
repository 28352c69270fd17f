"""Coherent X-ray diffraction patterns: classifier, augmentation, evaluation, reports.

Callbacks and services import it; SADP and APT don't.
"""

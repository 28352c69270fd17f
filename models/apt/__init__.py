"""Atom probe: from spatial distribution maps to a map of L1₂ order, its precipitates and their sizes.

Callbacks and services import it; CXDP and SADP don't.
"""

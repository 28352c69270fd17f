"""Atom probe: check that a reconstruction resolves lattice planes, and level it, before searching for order.

Used by services; CXDP and SADP don't import it.
"""

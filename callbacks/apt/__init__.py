"""Atom probe: what a reconstruction must show before order can be looked for, and how it is made level.

Services import it; CXDP and SADP don't.
"""

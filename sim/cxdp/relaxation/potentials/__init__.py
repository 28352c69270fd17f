"""EAM potentials: tables, the analytic ones of Zhou 2004, and what they say of a metal.

Engines and configurations import it.
"""

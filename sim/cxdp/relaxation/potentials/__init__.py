"""EAM potentials: tables, the analytic ones of Zhou et al. (2004), and the metal properties they predict.

Used by engines and configurations.
"""

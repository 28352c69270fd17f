"""What relaxes atoms: the project's own engine in Warp, and LAMMPS.

Configurations import it.
"""

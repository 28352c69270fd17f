"""Relaxation of atomistic crystals: EAM potentials, engines, protocols, and what is found in the relaxed crystal."""

"""Crystals: shapes, dislocations and displacement fields."""

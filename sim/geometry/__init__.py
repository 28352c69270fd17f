"""Diffractometer geometry: circles, detector, angles to Q and back, presets."""

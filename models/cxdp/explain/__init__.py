"""Which part of a diffraction pattern a CXDP verdict rests on: occlusion with any runtime, Grad-CAM with torch.

Services import it on demand.
"""

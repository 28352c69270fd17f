"""Which part of a pattern a verdict rests on: occlusion with any runtime, Grad-CAM with torch."""

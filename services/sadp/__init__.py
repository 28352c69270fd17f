"""What the services do for electron diffraction patterns and for no other modality.

The composition and the command line may import it; the other modalities may not.
"""

"""What the services do for coherent X-ray diffraction (rocking curves) and for no other modality.

The composition and the command line may import it; the other modalities may not.
"""

"""The running service: one worker that judges live documents, and what it tells of itself.

It knows modalities by the interface in `modality` alone; only the composition may import a modality's own rooms.
"""

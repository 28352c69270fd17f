"""The live service's worker and its modality-independent parts: health, feedback, watchers, supervision.

Composition, the page and each modality's live package import it; training and studies don't.
"""

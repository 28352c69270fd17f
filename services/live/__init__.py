"""The live service's worker and what it needs whatever is judged: health, deadlines, watchers, supervision.

Composition, the page and each system's own live part import it; training and studies don't.
"""

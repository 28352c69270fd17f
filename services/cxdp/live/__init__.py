"""Live rocking curves: how they are judged, stored, shown and told of.

Only the composition imports it, by the entry in `modality`.
"""

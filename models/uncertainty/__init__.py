"""How sure a network's answer is, and how it becomes a verdict; nothing here knows what the classes are of.

Imported by every system's classifier and training.
"""

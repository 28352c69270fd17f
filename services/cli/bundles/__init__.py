"""Commands on model bundles of any system: models, promote, export, engine.

Only the command line's root imports it.
"""

"""Bundles: a trained model as a folder that proves itself, how it is made, found and checked.

Classifiers, runtimes and services import it; it knows no system's own contents.
"""

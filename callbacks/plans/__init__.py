"""Plans and devices that act on verdicts.

Users' plans import it, nothing inside the service does.
"""

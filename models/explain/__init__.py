"""What an explanation is and how it is drawn, whatever made it.

Each system's explaining code and the page import it.
"""

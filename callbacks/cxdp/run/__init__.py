"""What one run's documents say, and how a rocking curve comes of them.

The screening of rocking curves imports it; it knows neither models nor other runs.
"""

"""``python -m braggwatch.services.cli`` is ``braggwatch``: what the demo starts its own parts with."""

from braggwatch.services.cli import main

main()

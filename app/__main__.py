"""``python -m app``: the command ``grounds`` without an installed script."""

from app.cli import main

main()

"""``python -m app``, and the command ``grounds``: ``app.cli``, imported with the collector at rest."""

import gc


def main() -> None:
    """Run the command."""
    # Imports make half a million objects that stay; the collector would walk them ten times over,
    # which is a fifth of the time they take.
    gc.disable()
    from app.cli import main as run

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()

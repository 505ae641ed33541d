"""The command line: one module per group of commands."""

from typing import NoReturn

from infogan.cli import signals

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command of this process and exit with its code."""
    signals.install()  # before the imports, which take a moment
    from infogan.cli import app

    app.main()

"""The command line: one module per group of commands."""

from infogan.cli.app import main

__all__ = ["main"]

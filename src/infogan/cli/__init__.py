"""The command line: one module per group of commands."""

from infogan.cli.app import app, main

__all__ = ["app", "main"]

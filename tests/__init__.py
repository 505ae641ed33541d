"""Tests, in the same folders as the modules that they test."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of the repository

"""Public name of `infogan.reports.notebook`: what a notebook shows."""

from infogan.reports.notebook import Explorer, explore, progress

__all__ = ["Explorer", "explore", "progress"]

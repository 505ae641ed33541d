"""Public name of the run folder."""

from infogan.training.run_dir import RunFolder

__all__ = ["RunFolder"]

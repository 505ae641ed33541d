"""Public name of what the command ``train`` does, in two steps."""

from infogan.api.train_run import plan, train_run

__all__ = ["plan", "train_run"]

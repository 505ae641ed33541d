"""Public name of `infogan.training.trackers`."""

from infogan.training.trackers import TRACKERS, MLflow, TensorBoard, Tracker, WandB, make_trackers

called = make_trackers  # the name of version 0.1

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "Tracker", "WandB", "called", "make_trackers"]

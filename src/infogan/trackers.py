"""Public name of `infogan.training.trackers`."""

from infogan.training.trackers import TRACKERS, MLflow, TensorBoard, Tracker, WandB

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "Tracker", "WandB"]

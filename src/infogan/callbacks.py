"""Public name of the callbacks of a run."""

from infogan.training.callbacks import Callback, EncodedSample, Interrupted, LogRecord

__all__ = ["Callback", "EncodedSample", "Interrupted", "LogRecord"]

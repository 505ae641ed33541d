"""Public name of `infogan.evaluation.metrics`; ``infogan.metrics.clustering`` and the others can be imported, too."""

import sys

from infogan.evaluation import metrics
from infogan.evaluation.metrics import (
    clustering,
    disentanglement,
    fidelity,
    inception,
    information,
    intervals,
    neighbours,
)

__all__ = ["clustering", "disentanglement", "fidelity", "inception", "information", "intervals", "neighbours"]

for _name in __all__:
    sys.modules[f"{__name__}.{_name}"] = getattr(metrics, _name)
sys.modules[__name__] = metrics

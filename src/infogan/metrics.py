"""Public name of `infogan.evaluation.metrics`; ``infogan.metrics.clustering`` and the others can be imported, too."""

import sys

from infogan.evaluation import metrics
from infogan.evaluation.metrics import clustering, disentanglement, fidelity, inception

# isort: split
from infogan.evaluation.metrics import information, intervals, neighbours

__all__ = ["clustering", "disentanglement", "fidelity", "inception", "information", "intervals", "neighbours"]
sys.modules.update({f"{__name__}.{name}": getattr(metrics, name) for name in __all__})
sys.modules[__name__] = metrics

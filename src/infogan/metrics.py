"""Public name of `infogan.evaluation.metrics`; ``infogan.metrics.clustering`` and the others can be imported, too."""

import sys

from infogan.evaluation import metrics
from infogan.evaluation.metrics import clustering, disentanglement, fidelity, inception, information, intervals
from infogan.evaluation.metrics import neighbours as neighbours

for _module in (clustering, disentanglement, fidelity, inception, information, intervals, neighbours):
    sys.modules[_module.__name__.replace(".evaluation.", ".")] = _module
sys.modules[__name__] = metrics

"""infogan: find categories and continuous factors in unlabelled images, and generate images by them.

Example:
    >>> import infogan
    >>> model = infogan.fit("digits", categorical=10, budget=60)
    >>> model.traverse("category", rows=5).shape
    (5, 10, 1, 8, 8)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infogan import callbacks, data, errors, export, metrics, notebook, recipes, runs, sweep, trackers, workflows
    from infogan.api.collection_map import map_run
    from infogan.api.duplicates import find_duplicates
    from infogan.api.fit import fit
    from infogan.api.refine import refine_run
    from infogan.api.similar import find_outliers, find_similar
    from infogan.api.sklearn import InfoGANEstimator
    from infogan.models.infogan import InfoGAN

# Threads that wait for one another sleep instead of spinning: next to other programs, those that spin take the time of
# the one that they wait for (docs/performance.md). OpenMP reads this when PyTorch is imported.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "10000"
# What Apple's GPU cannot compute, the CPU does. PyTorch reads this when it is imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

__version__ = "0.2.0"
__all__ = [
    "InfoGAN",
    "InfoGANEstimator",
    "__version__",
    "callbacks",
    "data",
    "errors",
    "export",
    "find_duplicates",
    "find_outliers",
    "find_similar",
    "fit",
    "map_run",
    "metrics",
    "notebook",
    "recipes",
    "refine_run",
    "runs",
    "sweep",
    "trackers",
    "workflows",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Imported on first use: importing torch takes a second, which `infogan --help` does not need.
    if name not in __all__:
        raise AttributeError(f"module 'infogan' has no attribute {name!r}")
    objects = {
        "InfoGAN": "models.infogan",
        "InfoGANEstimator": "api.sklearn",
        "find_duplicates": "api.duplicates",
        "find_outliers": "api.similar",
        "find_similar": "api.similar",
        "fit": "api.fit",
        "map_run": "api.collection_map",
        "refine_run": "api.refine",
    }
    if name in objects:
        return getattr(import_module(f"infogan.{objects[name]}"), name)
    return import_module(f"infogan.{name}")

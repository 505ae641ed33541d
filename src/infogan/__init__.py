"""infogan: find categories and continuous factors in unlabelled images, and generate images by them.

Example:
    >>> import infogan
    >>> model = infogan.fit("digits", categorical=10, budget=60)
    >>> model.traverse("category", rows=5).shape
    (5, 10, 1, 8, 8)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infogan import data, metrics, notebook, trackers
    from infogan.api.fit import fit
    from infogan.api.sklearn import InfoGANEstimator
    from infogan.models.infogan import InfoGAN

__version__ = "0.2.0"
__all__ = ["InfoGAN", "InfoGANEstimator", "__version__", "data", "fit", "metrics", "notebook", "trackers"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    # Imported on first use: importing torch takes a second, which `infogan --help` does not need.
    value: Any
    match name:
        case "InfoGAN":
            from infogan.models.infogan import InfoGAN as value
        case "InfoGANEstimator":
            from infogan.api.sklearn import InfoGANEstimator as value
        case "fit":
            from infogan.api.fit import fit as value
        case "data":
            import infogan.data as value
        case "metrics":
            import infogan.metrics as value
        case "notebook":
            import infogan.notebook as value
        case "trackers":
            import infogan.trackers as value
        case _:
            raise AttributeError(f"module 'infogan' has no attribute {name!r}")
    return value

"""infogan: learn categories and knobs from unlabelled images, and steer a generator by them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infogan import data
    from infogan.api.fit import fit
    from infogan.api.sklearn import InfoGANEstimator
    from infogan.evaluation import metrics
    from infogan.models.infogan import InfoGAN
    from infogan.reports import notebook
    from infogan.training import trackers

__version__ = "0.1.0"
__all__ = ["InfoGAN", "InfoGANEstimator", "__version__", "data", "fit", "metrics", "notebook", "trackers"]


def __getattr__(name: str) -> Any:
    found: Any
    # Loaded when first asked for: importing torch takes a second, which `infogan --help` need not.
    match name:
        case "InfoGAN":
            from infogan.models.infogan import InfoGAN as found
        case "InfoGANEstimator":
            from infogan.api.sklearn import InfoGANEstimator as found
        case "fit":
            from infogan.api.fit import fit as found
        case "data":
            import infogan.data as found
        case "metrics":
            import infogan.evaluation.metrics as found
        case "notebook":
            import infogan.reports.notebook as found
        case "trackers":
            import infogan.training.trackers as found
        case _:
            raise AttributeError(f"module 'infogan' has no attribute {name!r}")
    return found

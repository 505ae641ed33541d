"""infogan: learn categories and knobs from unlabelled images, and steer a generator by them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infogan import data, metrics, notebook, trackers
    from infogan.estimator import InfoGANEstimator
    from infogan.fitting import fit
    from infogan.model import InfoGAN

__version__ = "0.1.0"
__all__ = ["InfoGAN", "InfoGANEstimator", "__version__", "data", "fit", "metrics", "notebook", "trackers"]


def __getattr__(name: str) -> Any:
    found: Any
    # Loaded when first asked for: importing torch takes a second, which `infogan --help` need not.
    match name:
        case "InfoGAN":
            from infogan.model import InfoGAN as found
        case "InfoGANEstimator":
            from infogan.estimator import InfoGANEstimator as found
        case "fit":
            from infogan.fitting import fit as found
        case "data":
            import infogan.data as found
        case "metrics":
            import infogan.metrics as found
        case "notebook":
            import infogan.notebook as found
        case "trackers":
            import infogan.trackers as found
        case _:
            raise AttributeError(f"module 'infogan' has no attribute {name!r}")
    return found

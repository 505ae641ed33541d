"""infogan: learn categories and knobs from unlabelled images, and steer a generator by them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infogan.estimator import InfoGANEstimator
    from infogan.fitting import fit
    from infogan.model import InfoGAN

__version__ = "0.1.0"
__all__ = ["InfoGAN", "InfoGANEstimator", "__version__", "fit"]


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: importing torch takes a second, which `infogan --help` need not.
    if name == "InfoGAN":
        from infogan.model import InfoGAN

        return InfoGAN
    if name == "InfoGANEstimator":
        from infogan.estimator import InfoGANEstimator

        return InfoGANEstimator
    if name == "fit":
        from infogan.fitting import fit

        return fit
    raise AttributeError(f"module 'infogan' has no attribute {name!r}")

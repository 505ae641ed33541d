"""infogan: learn categories and knobs from unlabelled images, and steer a generator by them."""

__version__ = "0.1.0"

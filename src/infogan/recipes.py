"""Public name of the recipes, and of the function that composes options from them."""

from infogan.api.resolve import compose
from infogan.config.presets import PRESETS

resolve = compose  # the name of version 0.1

__all__ = ["PRESETS", "compose", "resolve"]

"""Training of an encoder's first stages alone, in which its features learn and know nothing of categories."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from infogan.config.schema import Config, Stage
from infogan.data.dataset import ImageSet
from infogan.models.encoder import Encoder
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import with_stages
from infogan.utils import distributed
from infogan.utils.errors import UserError

MIN_STEPS = 300  # in which the features are learned


def train_first_stage(config: Config, images: ImageSet, device: torch.device | str = "cpu") -> Encoder:
    """Train an encoder in the stages of a configuration that come before its categories.

    Args:
        config: The configuration; the number of categories is ignored.
        images: The training images.
        device: The device to compute on.

    Raises:
        UserError: The configuration has no such stages.
    """
    stages = _stages_before_clustering(config)
    if not stages:
        message = "only a recipe that trains its encoder before clustering can count categories: give their number"
        raise distributed.rank0_error(UserError(message))
    with TemporaryDirectory() as folder:
        model = train(with_stages(config, stages), images, RunFolder(Path(folder)), device=device)
    assert model.networks.encoder is not None
    return model.networks.encoder


def _stages_before_clustering(config: Config) -> tuple[Stage, ...]:
    """Return the stages before the categories start, whose shares are steps; () if there are none."""
    first = next((i for i, stage in enumerate(config.stages) if "cluster" in stage.on_start), 0)
    if first == 0:
        return ()
    # Shares are steps if there is a budget; otherwise they can be any numbers, and a few steps learn no features.
    scale = max(1.0, MIN_STEPS / sum(stage.share for stage in config.stages[:first]))
    return tuple(
        stage.model_copy(update={"share": float(math.ceil(stage.share * scale))}) for stage in config.stages[:first]
    )

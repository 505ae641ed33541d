"""The number of categories in images, found from the features that the encoder learns first."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.training.clustering import ClusterCountScan, scan
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import CLUSTERED_IMAGES, sample_pixels
from infogan.training.time_budget import with_stages
from infogan.utils import distributed
from infogan.utils.errors import UserError

MAX_CATEGORIES = 30  # that are looked for
MIN_STEPS = 300  # in which the features are learned


def count_categories(config: Config, images: ImageSet, device: torch.device | str = "cpu") -> ClusterCountScan:
    """Count the categories of images from the features that the first stages of a run learn.

    Args:
        config: With stages that train the encoder before its categories start; the size of the code is ignored.
        images: The training images.
        device: The device to compute on.

    Raises:
        UserError: The configuration has no such stages, or the images show no groups.
    """
    first = next((i for i, stage in enumerate(config.stages) if "cluster" in stage.on_start), 0)
    if first == 0:
        message = "only a recipe that trains its encoder before clustering can count categories: give their number"
        raise distributed.rank0_error(UserError(message))
    # Shares are steps if there is a budget; otherwise they can be any numbers, and a few steps learn no features.
    scale = max(1.0, MIN_STEPS / sum(stage.share for stage in config.stages[:first]))
    stages = tuple(
        stage.model_copy(update={"share": float(math.ceil(stage.share * scale))}) for stage in config.stages[:first]
    )
    with TemporaryDirectory() as folder:
        model = train(with_stages(config, stages), images, RunFolder(Path(folder)), device=device)
    seed = config.train.seed

    def scan_features() -> ClusterCountScan:
        pixels = sample_pixels(torch.from_numpy(np.ascontiguousarray(images.images)), CLUSTERED_IMAGES, seed)
        return scan(model.features(pixels.numpy()), MAX_CATEGORIES, seed=seed)

    return distributed.broadcast_from_rank0(scan_features)

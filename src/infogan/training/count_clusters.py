"""How many categories images have, where nobody says: the encoder's features are learned, and their peaks counted."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from infogan.config.schema import Config
from infogan.data.dataset import ImageSet
from infogan.training.clustering import ClusterCountScan, scan
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.stage_hooks import CLUSTERED, some_of
from infogan.training.time_budget import with_stages
from infogan.utils import distributed
from infogan.utils.errors import UserError

MOST = 30  # categories that are looked for
LEAST = 300  # steps in which the features are learned


def count_categories(config: Config, images: ImageSet, device: torch.device | str = "cpu") -> ClusterCountScan:
    """Counts the categories of images by the features that the first stages of a run learn.

    Args:
        config: With stages in which the encoder learns before its classes begin; the code's size plays no part.
        images: The training images.
        device: What to compute on.

    Raises:
        UserError: the configuration has no such stages, or the images show no groups.
    """
    first = next((i for i, stage in enumerate(config.stages) if "cluster" in stage.on_start), 0)
    if first == 0:
        needed = "only a recipe whose encoder learns before its classes begin can count them: say how many"
        raise distributed.rank0_error(UserError(needed))
    # Shares are steps where a budget rules; otherwise they may be any numbers, and no features are learned in a few.
    scale = max(1.0, LEAST / sum(stage.share for stage in config.stages[:first]))
    stages = [
        stage.model_copy(update={"share": float(math.ceil(stage.share * scale))}) for stage in config.stages[:first]
    ]
    learning = with_stages(config, tuple(stages))
    with TemporaryDirectory() as folder:
        model = train(learning, images, RunFolder(Path(folder)), device=device)
    seed = config.train.seed

    def scanned() -> str:
        pixels = some_of(torch.from_numpy(np.ascontiguousarray(images.images)), CLUSTERED, seed)
        return json.dumps(asdict(scan(model.features(pixels.numpy()), MOST, seed=seed)))

    return ClusterCountScan(**json.loads(distributed.broadcast_from_rank0(scanned)))

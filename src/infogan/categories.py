"""How many categories images have, where nobody says: the encoder's features are learned, and their peaks counted."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from infogan.beginnings import CLUSTERED
from infogan.budget import with_stages
from infogan.config import Config
from infogan.data.imageset import ImageSet
from infogan.errors import UserError
from infogan.partition import Scan, scan
from infogan.runs import RunFolder
from infogan.training import Watcher, train

MOST = 30  # categories that are looked for


def count_categories(
    config: Config, images: ImageSet, device: torch.device | str = "cpu", watch: Watcher | None = None
) -> Scan:
    """Counts the categories of images by the features that the first stages of a run learn.

    Args:
        config: With stages in which the encoder learns before its classes begin; the code's size plays no part.
        images: The training images.
        device: What to compute on.
        watch: Who hears of the progress.

    Raises:
        UserError: the configuration has no such stages, or the images show no groups.
    """
    first = next((i for i, stage in enumerate(config.stages) if "cluster" in stage.begin), 0)
    if first == 0:
        raise UserError("only a recipe whose encoder learns before its classes begin can count them: say how many")
    learning = with_stages(config, config.stages[:first])
    with TemporaryDirectory() as folder:
        model = train(learning, images, RunFolder(Path(folder)), device=device, watch=watch)
    some = images.subset(range(0, len(images), -(-len(images) // CLUSTERED)))
    return scan(model.features(some.images), MOST, seed=config.train.seed)

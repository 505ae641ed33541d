"""An outside judge of generated images: a classifier trained with labels, which no part of infogan ever sees.

Its reading of a generated image says whether the image is of the kind that its code stands for; its penultimate
features are the space of the Fréchet distance.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infogan.data.augment import augment
from infogan.data.batches import to_network
from infogan.data.dataset import ImageSet

STEPS, BATCH = 1_200, 256
SLIGHTLY = {"shift": 0.07, "rotate": 8.0, "scale": 0.1}


class Classifier(nn.Module):
    """A small convolutional network; features are the 128 units before the last layer."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in ((channels, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
        side = size // 8
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * side**2, 128), nn.ReLU())
        self.head = nn.Linear(128, classes)

    def read(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Features (count, 128) and labels (count,) of uint8 images."""
        self.eval()
        with torch.inference_mode():
            batches = torch.split(torch.from_numpy(np.ascontiguousarray(images)), 1000)
            features = torch.cat([self.trunk(to_network(batch)) for batch in batches])
            return features.double().numpy(), self.head(features).argmax(dim=1).numpy()


def outside_classifier(train: ImageSet, test: ImageSet, cache: Path) -> tuple[Classifier, float]:
    """Trains the judge, or loads the one in ``cache``; also its accuracy on the test split."""
    assert train.labels is not None
    assert test.labels is not None
    torch.manual_seed(0)
    judge = Classifier(train.channels, train.size, len(train.label_names))
    if cache.is_file():
        judge.load_state_dict(torch.load(cache, weights_only=True))
    else:
        _fit(judge, torch.from_numpy(np.ascontiguousarray(train.images)), torch.from_numpy(train.labels))
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(judge.state_dict(), cache)
    return judge, float((judge.read(test.images)[1] == test.labels).mean())


def _fit(judge: Classifier, pixels: Tensor, labels: Tensor) -> None:
    draws = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(judge.parameters(), lr=2e-3)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / STEPS)
        chosen = torch.randint(len(pixels), (BATCH,), generator=draws)
        images = augment(to_network(pixels[chosen]), SLIGHTLY, draws)
        loss = nn.functional.cross_entropy(judge.head(judge.trunk(images)), labels[chosen])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()

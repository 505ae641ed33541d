"""A classifier trained with labels, which judges generated images; no part of infogan uses it.

Its prediction for a generated image shows whether the image is of the class that its code stands for. Its penultimate
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
AUGMENTATION = {"shift": 0.07, "rotate": 8.0, "scale": 0.1}


class Classifier(nn.Module):
    """A small convolutional network; its features are the 128 units before the last layer."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for narrow, wide in ((channels, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(narrow, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
        side = size // 8
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * side**2, 128), nn.ReLU())
        self.head = nn.Linear(128, classes)

    def classify(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the features, (count, 128), and the predicted labels, (count,), of uint8 images."""
        self.eval()
        with torch.inference_mode():
            batches = torch.split(torch.from_numpy(np.ascontiguousarray(images)), 1000)
            features = torch.cat([self.trunk(to_network(batch)) for batch in batches])
            return features.double().numpy(), self.head(features).argmax(dim=1).numpy()


def trained_classifier(train: ImageSet, test: ImageSet, cache: Path) -> tuple[Classifier, float]:
    """Train a classifier, or load the one in ``cache``; return it and its accuracy on the test split."""
    assert train.labels is not None
    assert test.labels is not None
    torch.manual_seed(0)
    classifier = Classifier(train.channels, train.size, len(train.label_names))
    if cache.is_file():
        classifier.load_state_dict(torch.load(cache, weights_only=True))
    else:
        _fit(classifier, torch.from_numpy(np.ascontiguousarray(train.images)), torch.from_numpy(train.labels))
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(classifier.state_dict(), cache)
    return classifier, float((classifier.classify(test.images)[1] == test.labels).mean())


def _fit(classifier: Classifier, pixels: Tensor, labels: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / STEPS)
        indices = torch.randint(len(pixels), (BATCH,), generator=generator)
        images = augment(to_network(pixels[indices]), AUGMENTATION, generator)
        loss = nn.functional.cross_entropy(classifier.head(classifier.trunk(images)), labels[indices])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

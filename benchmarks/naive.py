"""An InfoGAN as public repositories have it, for comparison: eager, float32, written to be read.

The networks are those of Chen et al. for MNIST, with dense layers as 1x1 and 7x7 convolutions. Images come one by one
from a DataLoader. Reals and fakes have separate passes. The discriminator is not frozen in the generator's update, so
its gradients are computed and not used. Every loss is read at every step.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

NOISE, CATEGORIES, KNOBS = 62, 10, 2


class Images(Dataset[Tensor]):
    """Images, converted to tensors one by one."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.images[index]).float() / 255


class NaiveInfoGAN:
    """Networks, optimizers and loop.

    Args:
        images: uint8 (count, 1, 28, 28).
        batch_size: Number of reals, and of fakes.
    """

    def __init__(self, images: NDArray[np.uint8], batch_size: int) -> None:
        self.generator = nn.Sequential(
            nn.ConvTranspose2d(NOISE + CATEGORIES + KNOBS, 1024, 1, bias=False),
            nn.BatchNorm2d(1024),
            nn.ReLU(),
            nn.ConvTranspose2d(1024, 128, 7, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.1),
            nn.Conv2d(128, 1024, 7, bias=False),
            nn.BatchNorm2d(1024),
            nn.LeakyReLU(0.1),
        )
        self.discriminator = nn.Sequential(nn.Conv2d(1024, 1, 1), nn.Sigmoid())
        self.recognizer = nn.Sequential(
            nn.Conv2d(1024, 128, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.1), nn.Conv2d(128, 10 + 2 * 2, 1)
        )
        d_parameters = [*self.trunk.parameters(), *self.discriminator.parameters()]
        g_parameters = [*self.generator.parameters(), *self.recognizer.parameters()]
        self.discriminator_optimizer = torch.optim.Adam(d_parameters, lr=2e-4, betas=(0.5, 0.999))
        self.generator_optimizer = torch.optim.Adam(g_parameters, lr=1e-3, betas=(0.5, 0.999))
        self.batch_size = batch_size
        self.loader = DataLoader(Images(images), batch_size, shuffle=True, drop_last=True)
        self.history: list[tuple[float, float]] = []

    def train(self, steps: int) -> None:
        """Make some steps."""
        for _, reals in zip(range(steps), self._batches(), strict=False):
            self._step(reals)

    def _batches(self) -> Iterator[Tensor]:
        while True:
            yield from self.loader

    def _step(self, reals: Tensor) -> None:
        ones, zeros = torch.ones(self.batch_size), torch.zeros(self.batch_size)
        category = torch.randint(CATEGORIES, (self.batch_size,))
        knobs = torch.rand(self.batch_size, KNOBS) * 2 - 1
        noise = torch.randn(self.batch_size, NOISE)
        latents = torch.cat([noise, functional.one_hot(category, CATEGORIES).float(), knobs], dim=1)

        self.discriminator_optimizer.zero_grad()
        loss_on_reals = functional.binary_cross_entropy(self.discriminator(self.trunk(reals)).flatten(), ones)
        torch.autograd.backward(loss_on_reals)
        fakes = self.generator(latents[:, :, None, None])
        loss_on_fakes = functional.binary_cross_entropy(self.discriminator(self.trunk(fakes.detach())).flatten(), zeros)
        torch.autograd.backward(loss_on_fakes)
        self.discriminator_optimizer.step()

        self.generator_optimizer.zero_grad()
        features = self.trunk(fakes)
        adversarial = functional.binary_cross_entropy(self.discriminator(features).flatten(), ones)
        posterior = self.recognizer(features).flatten(1)
        logits, mean, log_variance = posterior.split([CATEGORIES, KNOBS, KNOBS], dim=1)
        information = functional.cross_entropy(logits, category)
        information = information + 0.1 * functional.gaussian_nll_loss(mean, knobs, log_variance.exp())
        loss = adversarial + information
        torch.autograd.backward(loss)
        self.generator_optimizer.step()
        self.history.append((loss_on_reals.item() + loss_on_fakes.item(), loss.item()))

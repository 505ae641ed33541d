"""The loss of the reader: zero for a perfect measure, against its equation, and a gradient to the reader alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from infogan.config.schema import Config, NetworkName
from infogan.data.properties import TRANSFORMS
from infogan.training.losses import LOSSES
from infogan.training.losses.equivariance import ORIGIN_WEIGHT
from infogan.utils.random import BatchRandom
from tests.helpers import begin_update, make_context, small_config
from tests.training.losses import backward, parts_with_gradient

READER: tuple[NetworkName, ...] = ("reader",)


def with_knobs(*names: str) -> Config:
    codes = [{"kind": "continuous", "name": name, "follows": name, "deviation": 0.2} for name in names]
    return small_config(codes=codes)


def test_loss_trains_only_the_reader() -> None:
    context, networks = make_context(with_knobs("slant", "size"), 16)
    backward(context, READER, {"equivariance": 1.0})
    assert parts_with_gradient(networks) == {"reader"}


def test_information_of_declared_knobs_trains_only_the_generator() -> None:
    context, networks = make_context(with_knobs("slant"), 16)
    backward(context, ("generator",), {"information": 1.0})
    assert parts_with_gradient(networks) == {"generator"}
    forward = begin_update(context, ("discriminator",), {"information": 1.0})
    assert forward.log_likelihoods == {}


def centroid(images: Tensor) -> Tensor:
    """Return where the ink is, from left to right, in sides: a measure that follows shift-x and nothing else."""
    ink = ((images + 1) / 2 - 0.3).clamp_min(0).sum(dim=(1, 2))
    places = (torch.arange(ink.shape[1]) + 0.5) / ink.shape[1]
    return ((ink * places).sum(dim=1) / ink.sum(dim=1)).unsqueeze(1)


def test_loss_follows_its_equation_and_a_right_measure_has_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    context, networks = make_context(with_knobs("shift-x"), 16)
    reader = networks.reader
    assert reader is not None
    context.reals = torch.full((16, 1, 8, 8), -1.0)
    context.reals[:, :, 3:5, 3:5] = 1
    change = torch.zeros(16, len(reader._changed))
    change[:, 0] = torch.rand(16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    monkeypatch.setattr(reader, "random_change", lambda count, random: change)

    def loss_of(scale: float) -> np.ndarray:
        usual = TRANSFORMS["shift-x"].usual
        monkeypatch.setattr(reader, "measure", lambda images: scale * (centroid(images) - 0.5) / usual)
        return LOSSES["equivariance"].compute(begin_update(context, READER, {"equivariance": 1.0})).numpy()

    right, half = loss_of(1.0), loss_of(0.5)
    assert right.mean() < 0.01
    expected = (1 + ORIGIN_WEIGHT) * (change[:, 0].numpy() / 2) ** 2  # the image itself is in the middle
    np.testing.assert_allclose(half, expected, atol=0.05)
    assert half.mean() > 5 * right.mean()
    # Away from the middle, the origin adds its share.
    context.reals = context.reals.roll(1, dims=3)
    del context.varied_reals
    assert loss_of(1.0).mean() == pytest.approx(ORIGIN_WEIGHT * 2 * (1 / 8 / TRANSFORMS["shift-x"].usual) ** 2, rel=0.1)


def test_workers_draw_the_changes_of_their_own_images() -> None:
    reader = make_context(with_knobs("slant"), 8)[1].reader
    assert reader is not None
    whole = reader.random_change(8, BatchRandom(torch.Generator().manual_seed(3)))
    part = reader.random_change(3, BatchRandom(torch.Generator().manual_seed(3), slice(2, 5), 8))
    assert torch.equal(part, whole[2:5])

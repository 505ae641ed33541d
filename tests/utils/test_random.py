"""Random numbers of a step: a rank draws the rows of its own samples of what one process draws."""

import pytest
import torch

from infogan.utils.random import BatchRandom

COUNT, ROWS = 7, slice(2, 5)


def source(rows: slice | None = None) -> BatchRandom:
    return BatchRandom(torch.Generator().manual_seed(3), rows, COUNT)


def test_rows_of_a_shard_are_those_of_the_batch() -> None:
    batch, shard = source(), source(ROWS)
    for _ in range(2):  # the second time after the same number of draws
        assert torch.equal(shard.normal(3, 4), batch.normal(7, 4)[ROWS])
        assert torch.equal(shard.uniform(3), batch.uniform(7)[ROWS])
        assert torch.equal(shard.integers(-2, 3, 3, 1), batch.integers(-2, 3, 7, 1)[ROWS])
        probabilities = torch.tensor([0.2, 0.5, 0.3])
        assert torch.equal(shard.multinomial(probabilities, 3), batch.multinomial(probabilities, 7)[ROWS])


def test_batch_can_be_repeated() -> None:
    expected = source().uniform(14, 2).reshape(2, 7, 2)[:, ROWS].flatten(0, 1)
    assert torch.equal(source(ROWS).uniform(6, 2), expected)


def test_empty_shard_draws_nothing() -> None:
    batch, empty = source(), source(slice(3, 3))
    assert empty.normal(0, 4).shape == (0, 4)
    batch.normal(0, 4)
    with pytest.raises(ValueError, match="4 rows are not a multiple of this rank's 3 samples"):
        source(ROWS).normal(4)


def test_source_is_made_of_a_generator_once() -> None:
    generator = torch.Generator().manual_seed(3)
    random = BatchRandom.of(generator)
    assert BatchRandom.of(random) is random
    assert random.device == generator.device
    assert torch.equal(random.normal(7), source().normal(7))

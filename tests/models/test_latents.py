import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal

from infogan.config.schema import CategoricalCode, Code, ContinuousCode, NoiseSettings
from infogan.models.latents import (
    MINIMUM_DEVIATION,
    CodeLayout,
    categorical_log_likelihood,
    gaussian_log_likelihood,
    posterior_deviation,
)
from infogan.utils.errors import UserError


def make_layout(*codes: Code, noise: int = 3, distribution: Any = "normal") -> CodeLayout:
    return CodeLayout(NoiseSettings(size=noise, distribution=distribution), codes)


MIXED = make_layout(
    CategoricalCode(name="a", size=4),
    ContinuousCode(name="x"),
    CategoricalCode(name="b", size=7, prior=(0.4, 0.3, 0.1, 0.1, 0.05, 0.05, 0.0)),
    ContinuousCode(name="y", deviation=1.0),
)


def test_codes_of_unequal_sizes_have_adjacent_columns() -> None:
    assert MIXED.latent_slices == {"a": slice(3, 7), "x": slice(7, 8), "b": slice(8, 15), "y": slice(15, 16)}
    assert MIXED.posterior_slices == {"a": slice(0, 4), "x": slice(4, 6), "b": slice(6, 13), "y": slice(13, 15)}
    assert (MIXED.latent_size, MIXED.posterior_size) == (16, 15)


@given(st.lists(st.integers(2, 9) | st.none(), max_size=6), st.integers(0, 5))
def test_slices_cover_the_latents_without_overlap(sizes: list[int | None], noise: int) -> None:
    codes: list[Code] = [
        ContinuousCode(name=str(i)) if size is None else CategoricalCode(name=str(i), size=size)
        for i, size in enumerate(sizes)
    ]
    layout = make_layout(*codes, noise=noise)
    columns = [c for s in layout.latent_slices.values() for c in range(s.start, s.stop)]
    assert columns == list(range(noise, layout.latent_size))


def test_latents_join_noise_one_hot_vectors_and_values() -> None:
    noise = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    codes = {
        "a": torch.tensor([1, 3]),
        "x": torch.tensor([0.5, -0.5]),
        "b": torch.tensor([6, 0]),
        "y": torch.tensor([1.0, -1.0]),
    }
    expected = [
        [0.1, 0.2, 0.3, 0, 1, 0, 0, 0.5, 0, 0, 0, 0, 0, 0, 1, 1.0],
        [0.4, 0.5, 0.6, 0, 0, 0, 1, -0.5, 1, 0, 0, 0, 0, 0, 0, -1.0],
    ]
    torch.testing.assert_close(MIXED.latents(noise, codes), torch.tensor(expected), rtol=0, atol=0)


def test_codes_are_sampled_from_their_priors() -> None:
    codes = MIXED.sample_codes(40_000, torch.Generator().manual_seed(0))
    for name in ("x", "y"):
        assert codes[name].min() >= -1
        assert codes[name].max() <= 1
        assert abs(codes[name].mean().item()) < 0.015  # standard error .003
        assert abs(codes[name].var().item() - 1 / 3) < 0.01
    torch.testing.assert_close(codes["a"].bincount(minlength=4) / 40_000, torch.full((4,), 0.25), rtol=0, atol=0.01)
    torch.testing.assert_close(codes["b"].bincount(minlength=7) / 40_000, MIXED.prior(MIXED.categorical[1]),
                               rtol=0, atol=0.01)  # fmt: skip


def test_noise_follows_its_distribution() -> None:
    normal = make_layout(noise=4).sample_noise(20_000, torch.Generator().manual_seed(0))
    uniform = make_layout(noise=4, distribution="uniform").sample_noise(20_000, torch.Generator().manual_seed(0))
    assert abs(normal.std().item() - 1) < 0.02
    assert normal.abs().max() > 3
    assert abs(uniform.std().item() - math.sqrt(1 / 3)) < 0.01
    assert uniform.abs().max() <= 1


def test_entropies_in_closed_form() -> None:
    assert MIXED.entropy("a") == pytest.approx(math.log(4), abs=1e-7)
    assert MIXED.entropy("x") == pytest.approx(math.log(2), abs=1e-12)
    by_hand = -sum(p * math.log(p) for p in (0.4, 0.3, 0.1, 0.1, 0.05, 0.05))
    assert MIXED.entropy("b") == pytest.approx(by_hand, abs=1e-6)


def test_log_likelihoods_are_those_of_torch_distributions() -> None:
    posterior = torch.randn(50, MIXED.posterior_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    codes = MIXED.sample_codes(50, torch.Generator().manual_seed(2))
    likelihoods = MIXED.log_likelihoods(posterior, codes)
    deviation = MINIMUM_DEVIATION + torch.log1p(posterior[:, 5].exp())
    expected = {
        "a": Categorical(logits=posterior[:, 0:4]).log_prob(codes["a"]),
        "x": Normal(posterior[:, 4], deviation).log_prob(codes["x"]),
        "b": Categorical(logits=posterior[:, 6:13]).log_prob(codes["b"]),
        "y": Normal(posterior[:, 13], 1.0).log_prob(codes["y"]),
    }
    assert list(likelihoods) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(likelihoods[name], values, rtol=1e-6, atol=1e-6)


def test_log_likelihoods_have_the_right_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    values = torch.tensor([0, 4, 2, 2])
    assert torch.autograd.gradcheck(lambda s: categorical_log_likelihood(s, values), (scores,))
    mean = torch.randn(4, dtype=torch.float64, generator=generator, requires_grad=True)
    deviation = torch.tensor([0.1, 0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    knob = torch.tensor([-1.0, 0.0, 0.4, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m, d: gaussian_log_likelihood(m, d, knob), (mean, deviation))


def test_the_information_bound_of_a_perfect_recognizer_is_the_entropy() -> None:
    # Softmax applied twice would leave 2.303 - 1.461 nats here.
    ten = make_layout(CategoricalCode(name="c", size=10))
    codes = ten.sample_codes(500, torch.Generator().manual_seed(0))
    logits = 50.0 * torch.nn.functional.one_hot(codes["c"], 10)
    bound = ten.log_likelihoods(logits, codes)["c"].mean() + ten.entropy("c")
    assert bound.item() == pytest.approx(math.log(10), abs=1e-3)


def test_the_information_bound_of_a_constant_recognizer_is_zero() -> None:
    ten = make_layout(CategoricalCode(name="c", size=10))
    codes = ten.sample_codes(500, torch.Generator().manual_seed(0))
    bound = ten.log_likelihoods(torch.zeros(500, 10), codes)["c"].mean() + ten.entropy("c")
    assert bound.item() == pytest.approx(0, abs=1e-6)


def test_the_gaussian_log_likelihood_is_bounded() -> None:
    knob = make_layout(ContinuousCode(name="x"))
    values = torch.tensor([0.3])
    bound = -math.log(MINIMUM_DEVIATION * math.sqrt(2 * math.pi))
    for raw in (-1e4, -50.0, -5.0, 0.0, 5.0):
        likelihood = knob.log_likelihoods(torch.tensor([[0.3, raw]]), {"x": values})["x"]
        assert math.isfinite(likelihood.item())
        assert likelihood.item() <= bound + 1e-6
    limit = knob.log_likelihoods(torch.tensor([[0.3, -1e4]]), {"x": values})["x"]
    assert limit.item() == pytest.approx(bound, abs=1e-6)


def test_a_fixed_deviation_ignores_the_raw_output() -> None:
    raw = torch.tensor([-3.0, 0.0, 9.0])
    assert posterior_deviation(raw, ContinuousCode(name="x", deviation=0.5)).tolist() == [0.5, 0.5, 0.5]


def test_a_posterior_is_split_into_probabilities_means_and_deviations() -> None:
    posterior = torch.randn(6, MIXED.posterior_size, generator=torch.Generator().manual_seed(3))
    codes = MIXED.split_posterior(posterior)
    torch.testing.assert_close(codes["b"]["probabilities"], posterior[:, 6:13].softmax(1))
    torch.testing.assert_close(codes["x"]["mean"], posterior[:, 4])
    assert codes["y"]["deviation"].tolist() == [1.0] * 6


def test_an_unknown_code_is_reported_with_the_most_similar_name() -> None:
    with pytest.raises(UserError, match="'knob'"):
        make_layout(ContinuousCode(name="knob")).code("knop")

"""The latent layout: which columns of the generator's input are noise and which belong to which code.

*Latents* are what the generator takes: noise, one-hot categories and continuous values. *Posteriors* are what the
recognizer returns: the logits of each category, and the mean and raw deviation of each continuous code. The prior
factorises as in Chen et al. 2016, section 5: P(c) = Π_i P(c_i), and so does the recognizer's Q(c|x).
"""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from infogan.config.schema import CategoricalCode, Code, ContinuousCode, NoiseSettings
from infogan.utils.errors import unknown_name
from infogan.utils.random import BatchRandom

Codes = Mapping[str, Shaped[Tensor, " batch"]]  # int64 for a categorical code, float in [-1, 1] for a continuous one
Noise = Float[Tensor, "batch noise"]

MINIMUM_DEVIATION = 0.1  # of a learned Gaussian Q; bounds the log-likelihood, see `posterior_deviation`


class CodeLayout:
    """The columns of noise and codes in latents and posteriors, and the distributions of noise and codes.

    Args:
        noise: Size and distribution of z, which is the first part of the latents.
        codes: The codes, in the order of their columns.

    Attributes:
        codes: The codes by name.
        latent_slices: By code, its columns in the latents.
        posterior_slices: By code, its columns in the posterior.
        latent_size: Number of columns of the latents.
        posterior_size: Number of columns of the posterior.
    """

    def __init__(self, noise: NoiseSettings, codes: Sequence[Code]) -> None:
        self.noise = noise
        self.codes: dict[str, Code] = {code.name: code for code in codes}
        self.latent_slices: dict[str, slice] = {}
        self.posterior_slices: dict[str, slice] = {}
        self._learned_priors: dict[str, Tensor] = {}
        self.latent_size, self.posterior_size = noise.size, 0
        for code in codes:
            columns, parameters = (code.size, code.size) if isinstance(code, CategoricalCode) else (1, 2)
            self.latent_slices[code.name] = slice(self.latent_size, self.latent_size + columns)
            self.posterior_slices[code.name] = slice(self.posterior_size, self.posterior_size + parameters)
            self.latent_size += columns
            self.posterior_size += parameters

    def code(self, name: str) -> Code:
        """Return the code with this name; raises UserError, with the most similar name, if there is none."""
        if name not in self.codes:
            raise unknown_name("code", name, self.codes)
        return self.codes[name]

    @property
    def categorical(self) -> list[CategoricalCode]:
        """The categorical codes, in order."""
        return [code for code in self.codes.values() if isinstance(code, CategoricalCode)]

    @property
    def continuous(self) -> list[ContinuousCode]:
        """The continuous codes, in order."""
        return [code for code in self.codes.values() if isinstance(code, ContinuousCode)]

    def prior(self, code: CategoricalCode) -> Float[Tensor, " category"]:
        """Return the probability of each value of a categorical code; a learned prior is uniform until it is set."""
        if code.name in self._learned_priors:
            return self._learned_priors[code.name]
        if isinstance(code.prior, str):
            return torch.full((code.size,), 1 / code.size)
        return torch.tensor(code.prior, dtype=torch.get_default_dtype())

    def set_prior(self, name: str, probabilities: Float[Tensor, " category"]) -> None:
        """Set the prior of a code whose prior is learned; do nothing for other codes."""
        code = self.code(name)
        if isinstance(code, CategoricalCode) and code.prior == "learned":
            self._learned_priors[name] = probabilities.detach().cpu().clone()

    def entropy(self, name: str) -> float:
        """Return H(c) in nats: -Σ p log p of a categorical code, log 2 of a continuous code uniform on [-1, 1]."""
        code = self.code(name)
        if isinstance(code, ContinuousCode):
            return math.log(2)
        return float(torch.special.entr(self.prior(code).double()).sum())

    def sample_noise(self, count: int, source: BatchRandom | torch.Generator) -> Noise:
        """Sample z, on the device of the random numbers."""
        random = BatchRandom.of(source)
        if self.noise.distribution == "normal":
            return random.normal(count, self.noise.size)
        return 2 * random.uniform(count, self.noise.size) - 1

    def interpolate_noise(self, start: Noise, end: Noise, fraction: Float[Tensor, " batch"]) -> Noise:
        """Interpolate between two noises row by row; a fraction of 0 gives ``start``, 1 gives ``end``.

        Normal noise follows the great circle, so that its norm stays typical (White 2016). Uniform noise follows the
        straight line.
        """
        fraction = fraction.unsqueeze(1)
        if self.noise.distribution != "normal":
            return torch.lerp(start, end, fraction)
        angle = torch.arccos(functional.cosine_similarity(start, end).clamp(-1, 1)).unsqueeze(1)
        is_straight = angle < 1e-4  # the sines below vanish together
        sine = torch.where(is_straight, 1, torch.sin(angle))
        start_weight = torch.where(is_straight, 1 - fraction, torch.sin((1 - fraction) * angle) / sine)
        end_weight = torch.where(is_straight, fraction, torch.sin(fraction * angle) / sine)
        return start_weight * start + end_weight * end

    def sample_codes(self, count: int, source: BatchRandom | torch.Generator) -> Codes:
        """Sample every code from its prior, on the device of the random numbers."""
        random = BatchRandom.of(source)
        return {name: self._sample_code(code, count, random) for name, code in self.codes.items()}

    def _sample_code(self, code: Code, count: int, random: BatchRandom) -> Tensor:
        if isinstance(code, ContinuousCode):
            return 2 * random.uniform(count) - 1
        if isinstance(code.prior, str) and code.name not in self._learned_priors:
            return random.integers(0, code.size, count)
        return random.multinomial(self.prior(code), count)

    def latents(self, noise: Noise, codes: Codes) -> Float[Tensor, "batch latent"]:
        """Concatenate noise and codes, with categories as one-hot vectors, to the generator's input."""
        columns = [noise]
        for name, code in self.codes.items():
            if isinstance(code, CategoricalCode):
                columns.append(functional.one_hot(codes[name], code.size).to(noise.dtype))
            else:
                columns.append(codes[name].to(noise.dtype).unsqueeze(1))
        return torch.cat(columns, dim=1)

    def log_likelihoods(
        self, posterior: Float[Tensor, "batch posterior"], codes: Codes, *, exclude: Collection[str] = ()
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Return log Q(c_i|x) in nats of the codes that the images were generated from, by name.

        The mean plus ``entropy(name)`` is the variational lower bound on the mutual information between the code and
        the image (Chen et al. 2016, equation 5).

        Args:
            posterior: The recognizer's output.
            codes: One value per image, for every code.
            exclude: Names of codes to leave out.
        """
        result = {}
        for name, code in self.codes.items():
            columns = posterior[:, self.posterior_slices[name]]
            if name in exclude:
                continue
            if isinstance(code, CategoricalCode):
                result[name] = categorical_log_likelihood(columns, codes[name])
            else:
                deviation = posterior_deviation(columns[:, 1], code)
                result[name] = gaussian_log_likelihood(columns[:, 0], deviation, codes[name])
        return result

    def split_posterior(self, posterior: Float[Tensor, "batch posterior"]) -> dict[str, dict[str, Tensor]]:
        """Return the parameters of each code's Q, by name of the code, from the recognizer's output.

        A categorical code has ``probabilities``, (batch, size), whose rows sum to 1. A continuous code has ``mean``,
        possibly outside [-1, 1], and ``deviation``, the standard deviation; both are (batch,).
        """
        result = {}
        for name, code in self.codes.items():
            columns = posterior[:, self.posterior_slices[name]]
            if isinstance(code, CategoricalCode):
                result[name] = {"probabilities": columns.softmax(dim=1)}
            else:
                result[name] = {"mean": columns[:, 0], "deviation": posterior_deviation(columns[:, 1], code)}
        return result


def posterior_deviation(raw: Float[Tensor, " batch"], code: ContinuousCode) -> Float[Tensor, " batch"]:
    """Return the standard deviation of a continuous code's Gaussian Q from the recognizer's raw output.

    A fixed ``code.deviation`` ignores the output. A learned deviation is MINIMUM_DEVIATION + softplus(raw). Chen et al.
    2016 (appendix C) use exp(raw), with which the log-likelihood has no upper bound and diverges once a code is
    predicted well; with the floor it stays below -log(0.1 √(2π)) = 1.38 nats.
    """
    if code.deviation is not None:
        return torch.full_like(raw, code.deviation)
    return MINIMUM_DEVIATION + functional.softplus(raw)


def categorical_log_likelihood(
    logits: Float[Tensor, "batch category"], values: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return log Q(c|x) of a categorical code in nats: the log-softmax of the recognizer's logits at the value."""
    return -functional.cross_entropy(logits, values, reduction="none")


def gaussian_log_likelihood(
    mean: Float[Tensor, " batch"], deviation: Float[Tensor, " batch"], values: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return log N(c; mean, deviation²) in nats, the density of a continuous code (Chen et al. 2016, section 6)."""
    return -0.5 * ((values - mean) / deviation).square() - deviation.log() - 0.5 * math.log(2 * math.pi)

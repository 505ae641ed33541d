"""The latent layout: which columns of the generator's input are noise and which are which code.

A layout is a slice table computed once from the configuration. With it, everything about codes is arithmetic on two
kinds of flat vectors: *latents*, what the generator takes (noise, one-hot categories, continuous values), and
*posteriors*, what the recognizer gives (logits of each category; mean and raw deviation of each continuous code).

The prior is factored, as in Chen et al. 2016, section 5: P(c) = Π_i P(c_i), and so is the recognizer's Q(c|x).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from infogan.config.schema import CategoricalCode, Code, ContinuousCode, NoiseSettings
from infogan.utils.errors import unknown_name
from infogan.utils.random import BatchRandom

Codes = Mapping[str, Shaped[Tensor, " batch"]]  # int64 for a categorical code, float in [-1, 1] for a continuous one

MINIMUM_DEVIATION = 0.1  # of a learned Gaussian Q: bounds the information bound from above, see `deviation_of`


@dataclass(frozen=True)
class CodeReading:
    """What the recognizer says of one code for a batch of images.

    Attributes:
        probabilities: For a categorical code, (batch, size), rows summing to 1; None otherwise.
        mean: For a continuous code, (batch,); may leave [-1, 1]. None otherwise.
        deviation: For a continuous code, (batch,), the standard deviation of Q; None otherwise.
    """

    probabilities: Float[Tensor, "batch category"] | None = None
    mean: Float[Tensor, " batch"] | None = None
    deviation: Float[Tensor, " batch"] | None = None


class CodeLayout:
    """The slice table of noise and codes, and the distributions over them.

    Args:
        noise: Size and distribution of z, which comes first in the latents.
        codes: The codes, in the order of their columns.
    """

    def __init__(self, noise: NoiseSettings, codes: Sequence[Code]) -> None:
        self.noise = noise
        self.codes: dict[str, Code] = {code.name: code for code in codes}
        self.latent_slices: dict[str, slice] = {}
        self.posterior_slices: dict[str, slice] = {}
        self._learned: dict[str, Tensor] = {}
        latent, posterior = noise.size, 0
        for code in codes:
            columns, parameters = (code.size, code.size) if isinstance(code, CategoricalCode) else (1, 2)
            self.latent_slices[code.name] = slice(latent, latent + columns)
            self.posterior_slices[code.name] = slice(posterior, posterior + parameters)
            latent, posterior = latent + columns, posterior + parameters
        self.latent_size = latent
        self.posterior_size = posterior

    def code(self, name: str) -> Code:
        """The code of that name; raises UserError with the nearest valid name where there is none."""
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
        """The probabilities of a categorical code's values; those of a learned one are uniform until they are set."""
        if code.name in self._learned:
            return self._learned[code.name]
        if isinstance(code.prior, str):
            return torch.full((code.size,), 1 / code.size)
        return torch.tensor(code.prior, dtype=torch.get_default_dtype())

    def set_prior(self, name: str, probabilities: Float[Tensor, " category"]) -> None:
        """Sets the probabilities of a code whose prior is learned; one of another kind keeps its own."""
        code = self.code(name)
        if isinstance(code, CategoricalCode) and code.prior == "learned":
            self._learned[name] = probabilities.detach().cpu().clone()

    def entropy(self, name: str) -> float:
        """H(c) in nats: -Σ p log p for a category, log 2 for a continuous code uniform on [-1, 1]."""
        code = self.code(name)
        if isinstance(code, ContinuousCode):
            return math.log(2)
        return float(torch.special.entr(self.prior(code).double()).sum())

    def sample_noise(self, count: int, source: BatchRandom | torch.Generator) -> Float[Tensor, "batch noise"]:
        """Draws z, on the device of the random numbers."""
        chances = BatchRandom.of(source)
        if self.noise.distribution == "normal":
            return chances.normal(count, self.noise.size)
        return 2 * chances.uniform(count, self.noise.size) - 1

    def sample_codes(self, count: int, source: BatchRandom | torch.Generator) -> Codes:
        """Draws every code from its prior, on the device of the random numbers."""
        chances = BatchRandom.of(source)
        return {name: self._sample(code, count, chances) for name, code in self.codes.items()}

    def _sample(self, code: Code, count: int, chances: BatchRandom) -> Tensor:
        if isinstance(code, ContinuousCode):
            return 2 * chances.uniform(count) - 1
        if isinstance(code.prior, str) and code.name not in self._learned:
            return chances.integers(0, code.size, count)
        return chances.multinomial(self.prior(code), count)

    def latents(self, noise: Float[Tensor, "batch noise"], codes: Codes) -> Float[Tensor, "batch latent"]:
        """Joins noise and codes to what the generator takes."""
        columns = [noise]
        for name, code in self.codes.items():
            if isinstance(code, CategoricalCode):
                columns.append(functional.one_hot(codes[name], code.size).to(noise.dtype))
            else:
                columns.append(codes[name].to(noise.dtype).unsqueeze(1))
        return torch.cat(columns, dim=1)

    def log_likelihoods(
        self, posterior: Float[Tensor, "batch posterior"], codes: Codes
    ) -> dict[str, Float[Tensor, " batch"]]:
        """Log Q(c_i|x) in nats of the codes that were put in, by name.

        Its mean plus ``entropy(name)`` is the variational lower bound of the information between that code and the
        image (Chen et al. 2016, equation 5).
        """
        return self.log_likelihoods_of(
            {name: posterior[:, columns] for name, columns in self.posterior_slices.items()}, codes
        )

    def log_likelihoods_of(
        self, parts: Mapping[str, Float[Tensor, "batch some"]], codes: Codes
    ) -> dict[str, Float[Tensor, " batch"]]:
        """As `log_likelihoods`, for some codes: by name, their columns of the posterior."""
        result = {}
        for name, parameters in parts.items():
            code = self.codes[name]
            if isinstance(code, CategoricalCode):
                result[name] = categorical_log_likelihood(parameters, codes[name])
            else:
                mean, deviation = parameters[:, 0], deviation_of(parameters[:, 1], code)
                result[name] = gaussian_log_likelihood(mean, deviation, codes[name])
        return result

    def read(self, posterior: Float[Tensor, "batch posterior"]) -> dict[str, CodeReading]:
        """The recognizer's output as probabilities, means and deviations, by name of the code."""
        readings = {}
        for name, code in self.codes.items():
            parameters = posterior[:, self.posterior_slices[name]]
            if isinstance(code, CategoricalCode):
                readings[name] = CodeReading(probabilities=parameters.softmax(dim=1))
            else:
                readings[name] = CodeReading(mean=parameters[:, 0], deviation=deviation_of(parameters[:, 1], code))
        return readings


def deviation_of(raw: Float[Tensor, " batch"], code: ContinuousCode) -> Float[Tensor, " batch"]:
    """The standard deviation of a continuous code's Gaussian Q from the recognizer's raw output.

    A fixed ``code.deviation`` is taken as it is. A learned one is MINIMUM_DEVIATION + softplus(raw): Chen et al. 2016
    (appendix C) let it be exp(raw), with which the log-likelihood has no upper bound and runs away once a code is read
    well; with the floor it stays below -log(0.1 √(2π)) = 1.38 nats.
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

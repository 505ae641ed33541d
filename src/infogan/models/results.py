"""What a model returns: generated samples, and the codes that it reads in images."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

MAX_DISPLAYED = 64  # samples that a notebook shows


@dataclass(frozen=True, repr=False)
class Samples:
    """Generated images and the codes that they were generated from; NumPy takes it for the array of images.

    Attributes:
        images: uint8 (count, channels, height, width).
        codes: By name: int64 (count,) for a categorical code, float32 (count,) in [-1, 1] for a continuous one.
    """

    images: NDArray[np.uint8]
    codes: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.images)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.images, dtype, copy=copy)

    def __repr__(self) -> str:
        count, channels, height, width = self.images.shape
        return f"<Samples: {count} images, {channels} x {height} x {width}; codes: {', '.join(self.codes) or 'none'}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the images as a grid, for notebooks."""
        from infogan.reports import figures, html_page

        bundle, images = {"text/plain": repr(self)}, self.images[:MAX_DISPLAYED]
        if len(images):
            grid = figures.image_grid(images, math.ceil(math.sqrt(len(images))))
            caption = f"The first {len(images)} of {len(self.images)}." if len(images) < len(self.images) else ""
            bundle["text/html"] = html_page.figure(grid, f"{len(images)} generated images", caption)
        return bundle


@dataclass(frozen=True, repr=False)
class Encoding:
    """The codes that a recognizer predicts for images.

    Attributes:
        codes: By name: the most probable category, int64 (count,); or the mean of a continuous code, float32 (count,).
        probabilities: By name of a categorical code: float32 (count, size).
        deviations: By name of a continuous code: float32 (count,), the standard deviation of Q.
        entropy: float32 (count,), entropy of all categorical posteriors together in nats; 0 = certain.
    """

    codes: dict[str, NDArray[Any]]
    probabilities: dict[str, NDArray[np.float32]]
    deviations: dict[str, NDArray[np.float32]]
    entropy: NDArray[np.float32]

    def with_probabilities(self, name: str, probabilities: NDArray[np.float32]) -> "Encoding":
        """Return the encoding with other probabilities (images, values) of a categorical code."""
        change = _entropy(probabilities) - _entropy(self.probabilities[name])
        return Encoding(
            {**self.codes, name: probabilities.argmax(axis=1)},
            {**self.probabilities, name: probabilities},
            self.deviations,
            np.maximum(self.entropy + change, 0).astype(np.float32),
        )

    def to_array(self) -> NDArray[np.float64]:
        """Return the codes as numbers, (images, columns): one column per knob, one per category for its probability."""
        columns = [self.probabilities.get(name, values[:, np.newaxis]) for name, values in self.codes.items()]
        return np.concatenate(columns, axis=1).astype(np.float64)

    def __repr__(self) -> str:
        summaries = []
        for name, values in self.codes.items():
            if name in self.probabilities:
                confidence = self.probabilities[name].max(axis=1)
                suffix = f", mean probability {confidence.mean():.2f}" if len(values) else ""
                summaries.append(f"{name} of {len(np.unique(values))} values{suffix}")
            else:
                summaries.append(f"{name} {values.mean():+.2f} on average" if len(values) else name)
        return f"<Encoding of {len(self.entropy)} images: {'; '.join(summaries)}>"


def _entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the entropy of each row in nats, (rows,)."""
    positive = np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny)
    return np.asarray(-(probabilities * np.log(positive)).sum(axis=1))


Answer = Literal["yes", "with care", "no"]
Part = Literal["groups", "pictures"]


@dataclass(frozen=True)
class Trace:
    """One measurement of a verdict.

    Attributes:
        name: Its name.
        concerns: The part of the verdict that it is about.
        value: The measurement.
        limit: Beyond it the answer is not ``"yes"``.
        answer: The best answer that the measurement allows.
        meaning: What was measured, in words.
    """

    name: str
    concerns: Part
    value: float
    limit: float
    answer: Answer
    meaning: str


@dataclass(frozen=True)
class Verdict:
    """Whether to rely on a model, judged from images alone, without labels.

    Attributes:
        groups: Whether to rely on the category of a real image.
        pictures: Whether generated images are varied, faithful and as their codes say.
        reason: Both answers, each with its first reason, as one clause.
        reasons: All reasons against a ``"yes"``, the strongest first.
        evidence: What was measured.
        advice: What to do next, as options of the same training command; empty if nothing is to be done.
        probability: Of groups that are right; None if it was not estimated.

    Example:
        >>> model = infogan.fit("digits")
        >>> model.verdict.trust, model.verdict.groups, model.verdict.pictures
        (True, 'yes', 'yes')
    """

    groups: Answer
    pictures: Answer
    reason: str
    reasons: tuple[str, ...] = ()
    evidence: tuple[Trace, ...] = ()
    advice: str = ""
    probability: float | None = None

    @property
    def trust(self) -> bool:
        """Whether neither answer is no."""
        return "no" not in (self.groups, self.pictures)

    @property
    def details(self) -> tuple[str, ...]:
        """What to say beside the two answers: the reasons, or the sentence of version 0.1."""
        return self.reasons if self.evidence else (self.reason,)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values, as `parse` reads it."""
        evidence = {trace.name: {**asdict(trace)} for trace in self.evidence}
        for entry in evidence.values():
            del entry["name"]
        return {"trust": self.trust, **asdict(self), "reasons": [*self.reasons], "evidence": evidence}

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> "Verdict":
        """Return a verdict from an evaluation; those of version 0.1 have one answer for both and other evidence."""
        answer: Answer = "yes" if entry["trust"] else "no"
        groups, pictures = (cast(Answer, entry.get(part) or answer) for part in ("groups", "pictures"))
        return cls(
            groups,
            pictures,
            entry["reason"],
            tuple(entry.get("reasons", ())),
            tuple(Trace(name, **trace) for name, trace in entry.get("evidence", {}).items()),
            entry.get("advice", ""),
            entry.get("probability"),
        )

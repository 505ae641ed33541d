"""What an evaluation says beyond the metrics it is made of, which have tests of their own."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from infogan.evaluation import IGNORED, Evidence, evaluate, summary
from infogan.model import InfoGAN
from tests.helpers import image_set, small_model


def informed(monkeypatch: pytest.MonkeyPatch, **bounds: float) -> list[str]:
    """The summary of a model whose images tell so many nats of each code."""
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    entropies = {"category": math.log(3), "knob1": math.log(2)}

    def told(self: InfoGAN, images: NDArray[np.uint8], codes: object) -> dict[str, NDArray[np.float64]]:
        return {name: np.full(len(images), bound - entropies[name]) for name, bound in bounds.items()}

    monkeypatch.setattr(InfoGAN, "log_likelihoods", told)
    result = evaluate(Evidence(model, image_set(), None, 0), ["information"])
    assert result["information"] == pytest.approx(bounds, abs=1e-6)
    assert result["entropy"] == pytest.approx(entropies, abs=1e-6)
    lines = summary(result)
    assert all(any(line.startswith(f"{name} is ignored") for line in lines) for name in result["ignored"])
    ignored: list[str] = result["ignored"]
    return ignored


def test_a_code_that_images_tell_nothing_of_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert informed(monkeypatch, category=1.0, knob1=0.7) == []
    assert informed(monkeypatch, category=1.0, knob1=IGNORED - 0.01) == ["knob1"]
    assert informed(monkeypatch, category=IGNORED + 0.01, knob1=-0.2) == ["knob1"]
    assert informed(monkeypatch, category=0.0, knob1=-0.2) == ["category", "knob1"]

"""The features of the FID: those of pytorch-fid, from the published weights or not at all, and nothing but weights.

pytorch-fid is an extra, and its weights are not fetched: where the package is there, its network with weights by chance
stands for the published one.
"""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infogan.evaluation.evaluate import ALL, METRICS, EvaluationInputs, evaluate
from infogan.evaluation.metrics import inception
from infogan.evaluation.metrics.inception import InceptionFeatures, obstacle
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_set, small_model

try:
    from pytorch_fid import inception as outside
except (ImportError, RuntimeError):
    outside = None
needs_package = pytest.mark.skipif(outside is None, reason="needs pytorch-fid")


@pytest.mark.skipif(outside is not None, reason="pytorch-fid is there")
def test_without_the_extra_it_is_named() -> None:
    evidence = EvaluationInputs(small_model(), image_set(120), None, 0)
    with pytest.raises(UserError, match=r"pip install 'infogan\[inception\]'|can not be used here: "):
        evaluate(evidence, ["inception"])
    with pytest.raises(ValueError, match="pytorch-fid"):
        InceptionFeatures()


def test_it_is_measured_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name, metric in METRICS.items() if not metric.by_default] == ["inception"]
    measured: list[str] = []

    def noted(name: str, evidence: EvaluationInputs) -> dict[str, Any]:
        measured.append(name)
        return {}

    for name in METRICS:
        changes: dict[str, Any] = {"measure": partial(noted, name), "obstacle": lambda _: "", "protocol": lambda _: ""}
        monkeypatch.setitem(METRICS, name, replace(METRICS[name], **changes))
    evidence = EvaluationInputs(small_model(), image_set(120), None, 0)
    evaluate(evidence)
    assert measured == [name for name in METRICS if name != "inception"]
    measured.clear()
    evaluate(evidence, [ALL])
    assert measured == list(METRICS)
    assert next(iter(evaluate(evidence, ["kernel", ALL])["protocols"])) == "kernel"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch looks for weights that it has fetched before: a folder without any."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / inception.WEIGHTS
    path.parent.mkdir()
    return path


def put(content: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of weights, taken for the published one."""
    torch.save(content, path)
    monkeypatch.setattr(inception, "DIGEST", hashlib.sha256(path.read_bytes()).hexdigest()[:8])


def random_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Of the network, which builds itself without a file here alone."""
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        patched.setattr(outside, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        made: dict[str, torch.Tensor] = outside.fid_inception_v3().state_dict()
        return made


@pytest.mark.slow
@needs_package
def test_the_features_are_those_of_the_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(random_weights(monkeypatch), cache, monkeypatch)
    assert obstacle() == ""
    images = bar_images(35, size=16)  # more than are taken at a time
    features = InceptionFeatures()(images)
    network = outside.InceptionV3().eval()
    grey = torch.from_numpy(images).float() / 255
    with torch.no_grad():
        expected = torch.cat([network(part.repeat(1, 3, 1, 1))[0] for part in grey.split(7)]).flatten(1).double()
    assert features.shape == (35, 2048)
    assert np.allclose(features, expected, atol=1e-4 * float(expected.std()))
    assert np.ptp(features, axis=0).max() > 0
    result = evaluate(EvaluationInputs(small_model(), image_set(100), None, 0), ["inception"])
    assert {"frechet_inception2048", "kernel_inception2048", "kernel_inception2048_error"} <= result.keys()
    with pytest.raises(ValueError, match="1 or 3 channels"):
        InceptionFeatures()(images.repeat(2, axis=1))


@needs_package
def test_other_files_are_refused_and_nothing_in_them_is_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(cache) in obstacle()
    cache.write_bytes(b"something else")
    assert "its SHA-256 is" in obstacle()
    ran = cache.parent / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    put({"weights": Trap()}, cache, monkeypatch)
    assert obstacle() == ""
    with pytest.raises(Exception, match="Weights only load failed"):
        InceptionFeatures()(bar_images(2))
    assert not ran.exists()

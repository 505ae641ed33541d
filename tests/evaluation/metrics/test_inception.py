"""The features of the FID: they equal those of pytorch-fid, and only the published weights are loaded.

pytorch-fid is an extra. If it is installed, its network with random weights replaces the published one.
"""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infogan.evaluation.evaluate import ALL, evaluate
from infogan.evaluation.metric_groups import METRICS, EvaluationInputs, MetricContext, Result
from infogan.evaluation.metrics import inception
from infogan.evaluation.metrics.inception import InceptionFeatures, obstacle
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_set, small_model

try:
    from pytorch_fid import inception as pytorch_fid
except (ImportError, RuntimeError):
    pytorch_fid = None
needs_package = pytest.mark.skipif(pytorch_fid is None, reason="needs pytorch-fid")


@pytest.mark.skipif(pytorch_fid is not None, reason="pytorch-fid is installed")
def test_missing_package_is_named() -> None:
    inputs = EvaluationInputs(small_model(), image_set(120), None, 0)
    with pytest.raises(UserError, match=r"pip install 'infogan\[inception\]'|cannot be imported: "):
        evaluate(inputs, ["inception"])
    with pytest.raises(ValueError, match="pytorch-fid"):
        InceptionFeatures()


def test_slow_metric_is_measured_only_if_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name, metric in METRICS.items() if not metric.by_default] == ["inception"]
    measured: list[str] = []

    def record(name: str, context: MetricContext) -> Result:
        measured.append(name)
        return {"protocol": ""}

    for name, metric in METRICS.items():
        monkeypatch.setitem(METRICS, name, replace(metric, measure=partial(record, name), obstacle=lambda _: ""))
    inputs = EvaluationInputs(small_model(), image_set(120), None, 0)
    evaluate(inputs)
    assert measured == [name for name in METRICS if name != "inception"]
    measured.clear()
    evaluate(inputs, [ALL])
    assert measured == list(METRICS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path at which torch would have cached the weights; the file does not exist."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / inception.WEIGHTS
    path.parent.mkdir()
    return path


def write_weights(content: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of weights that passes as the published one."""
    torch.save(content, path)
    monkeypatch.setattr(inception, "DIGEST", hashlib.sha256(path.read_bytes()).hexdigest()[:8])


def random_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Return random weights of the network, which otherwise needs a file."""
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        patched.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        weights: dict[str, torch.Tensor] = pytorch_fid.fid_inception_v3().state_dict()
        return weights


@pytest.mark.integration
@needs_package
def test_features_equal_those_of_pytorch_fid(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights(random_weights(monkeypatch), cache, monkeypatch)
    assert obstacle() == ""
    images = bar_images(35, size=16)  # more than a batch
    features = InceptionFeatures()(images)
    network = pytorch_fid.InceptionV3().eval()
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
def test_other_files_are_refused_and_their_code_does_not_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(cache) in obstacle()
    cache.write_bytes(b"something else")
    assert "its SHA-256 is" in obstacle()
    trace = cache.parent / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (trace,)

    write_weights({"weights": Trap()}, cache, monkeypatch)
    assert obstacle() == ""
    with pytest.raises(Exception, match="Weights only load failed"):
        InceptionFeatures()(bar_images(2))
    assert not trace.exists()

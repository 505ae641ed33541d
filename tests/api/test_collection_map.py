"""The map of a collection: where its images lie, how it is kept, and what the explorer shows of it."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

import infogan
from infogan.api.collection_map import MAP, MIN_IMAGES, load_map, project
from infogan.data import load
from infogan.models.infogan import InfoGAN
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.commands import invoke
from tests.explorer_client import copy_run, explorer_thread


def clusters(count: int = 60, dimensions: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return points of five clusters that no two directions separate, and their clusters."""
    random = np.random.default_rng(0)
    labels = np.arange(5 * count) % 5
    space = 3 * np.eye(5, dimensions)[labels] + random.normal(0, 0.3, (5 * count, dimensions))
    return space.astype(np.float32), labels


def test_principal_components_are_those_of_scikit_learn_up_to_scale() -> None:
    space, _ = clusters()
    points = project(space, "pca")
    expected = PCA(2).fit_transform(space)
    for column in range(2):
        assert abs(np.corrcoef(points[:, column], expected[:, column])[0, 1]) == pytest.approx(1, abs=1e-4)
    assert points.min(axis=0).tolist() == [0, 0]
    assert points.max(axis=0).tolist() == [1, 1]
    assert np.array_equal(project(space, "pca"), points)


def test_tsne_keeps_neighbours_together() -> None:
    pytest.importorskip("openTSNE")
    space, labels = clusters()

    def agreement(points: np.ndarray) -> float:
        return float(KNeighborsClassifier(5).fit(points[::2], labels[::2]).score(points[1::2], labels[1::2]))

    points = project(space, "tsne")
    assert agreement(points) > 0.99 > agreement(project(space, "pca"))
    assert np.array_equal(project(space, "tsne"), points)


def test_few_or_equal_images_have_a_map_or_a_reason() -> None:
    assert project(np.ones((5, 3), np.float32), "pca").tolist() == [[0, 0]] * 5
    assert project(np.arange(8, dtype=np.float32)[:, None], "pca").shape == (8, 2)
    with pytest.raises(UserError):
        project(np.ones((MIN_IMAGES - 1, 3), np.float32), "pca")


def test_map_is_kept_with_the_run_and_shown_by_the_explorer(digits_run: Path, tmp_path: Path) -> None:
    folder = copy_run(digits_run, tmp_path / "run")
    result = invoke("map", folder, "--method", "pca")
    assert result.returncode == 0, result.stderr
    model, digits = InfoGAN.load(folder), load("digits")
    kept = load_map(RunFolder(folder), model.digest())
    assert kept is not None
    assert kept.method == "pca"
    np.testing.assert_array_equal(kept.points, infogan.map_run(folder, method="pca").points)
    assert load_map(RunFolder(folder), "another model") is None
    with explorer_thread(folder) as client:
        client.log_in()
        assert client.state()["mappable"]
        while client.state()["images"]["encoded"] < len(digits):
            time.sleep(0.05)
        _, answer = client.get("/api/map")
        assert answer["method"] == "pca"
        assert answer["indices"] == list(range(len(digits)))
        np.testing.assert_allclose(np.array(answer["x"]) / 4095, kept.points[:, 0], atol=2e-4)
        numbers = np.array(answer["numbers"])
        groups = client.get("/api/groups")[1]["groups"]
        assert np.bincount(numbers, minlength=10).tolist() == [group["count"] for group in groups]
        items = client.get("/api/gallery", code=0, indices="7,3")[1]["items"]
        assert [(item["index"], item["name"]) for item in items] == [(7, digits.names[7]), (3, digits.names[3])]
        # A map of images with other names does not count: where one was deleted, all others would be one place off.
        shifted = {"points": kept.points, "names": np.roll(kept.names, 1)}
        content = safetensors.numpy.save(shifted, {"model": model.digest(), "method": "tsne"})
        (folder / MAP).write_bytes(content)
        assert client.get("/api/map")[1]["method"] == "pca"
    (folder / MAP).write_bytes(b"no map")
    with pytest.raises(UserError, match="damaged"):
        load_map(RunFolder(folder), model.digest())


def test_what_cannot_be_mapped_is_said_in_a_sentence(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in ((digits_run, "--method", "umap"), (tmp_path / "nowhere",)):
        result = invoke("map", *arguments)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(UserError, match=r"infogan\[map\]"):
        infogan.map_run(digits_run)

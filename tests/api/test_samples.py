"""Samples as files: nothing replaces anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.api.samples import first_of_each, sample_paths, save_samples
from infogan.data import load
from infogan.data.folder_layout import OUTPUT_MARKER
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.helpers import bar_images, image_folder, small_model


@pytest.fixture(scope="module")
def model() -> InfoGAN:
    return small_model()


def test_codes_named_like_other_arrays_are_saved(tmp_path: Path) -> None:
    names = ("images", "file", "allow_pickle", "knob")
    codes: list[dict[str, Any]] = [{"kind": "continuous", "name": name} for name in names]
    samples = small_model(codes=codes).sample(3)
    assert save_samples(samples, tmp_path / "s.npz") == [tmp_path / "s.npz"]
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        assert {*archive} == {"images", "code images", "code file", "code allow_pickle", "knob"}
        assert np.array_equal(archive["images"], samples.images)
        assert np.array_equal(archive["code images"], samples.codes["images"])


def test_a_seed_that_is_given_twice_has_two_files(model: InfoGAN, tmp_path: Path) -> None:
    samples = first_of_each(model, [2, 5, 2], {})
    names = ["seed2", "seed5", "seed2"]
    paths = save_samples(samples, tmp_path / "files", names)
    assert paths == sample_paths((3, 1), tmp_path / "files", names)
    assert len({*paths}) == 3
    for path, image in zip(paths, samples.images, strict=True):
        with Image.open(path) as saved:
            assert np.array_equal(np.asarray(saved), image[0])


def test_samples_in_a_folder_of_images_do_not_become_images(model: InfoGAN, tmp_path: Path) -> None:
    images = image_folder(tmp_path / "images", lambda i: f"{i}.png", len(bar_images()), ())
    paths = save_samples(model.sample(11), images / "samples")
    assert [path.name for path in paths] == [f"{number:02d}.png" for number in range(11)]
    assert (images / "samples" / OUTPUT_MARKER).is_file()
    assert len(load(images)) == len(bar_images())


def test_a_file_in_the_place_of_the_folder_is_refused(model: InfoGAN, tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("precious")
    with pytest.raises(UserError, match="samples: Not a directory"):
        save_samples(model.sample(2), tmp_path / "samples")
    assert (tmp_path / "samples").read_text() == "precious"

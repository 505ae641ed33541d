import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from tests.helpers import pictures, small_model


@pytest.mark.parametrize("architecture", ["conv", "mlp", "paper", "post"])
def test_a_saved_model_loads_bit_equal_and_needs_nothing_else(tmp_path: Path, architecture: str) -> None:
    model = small_model(architecture=architecture)
    model.name_codes({"category": [f"kind {i}" for i in range(10)]})
    model.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    for path in (tmp_path, tmp_path / "model"):
        again = InfoGAN.load(path)
        assert again.config == model.config
        assert np.array_equal(again.sample(20, seed=5).images, model.sample(20, seed=5).images)
        found, expected = again.encode(pictures(10)), model.encode(pictures(10))
        for code in expected.codes:
            assert np.array_equal(found.codes[code], expected.codes[code])


def test_what_is_drawn_and_read_follows_weights_that_change() -> None:
    model, changed = small_model(), small_model()
    first = model.sample(3, seed=1).images, model.encode(pictures(3)).codes["knob1"]
    random = torch.Generator().manual_seed(0)
    for mine, others in zip(model.networks.parameters(), changed.networks.parameters(), strict=True):
        change = torch.randn(mine.shape, generator=random)
        mine.add_(change)
        others.add_(change)
    second = model.sample(3, seed=1).images, model.encode(pictures(3)).codes["knob1"]
    assert not any(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert np.array_equal(second[0], changed.sample(3, seed=1).images)
    assert np.array_equal(second[1], changed.encode(pictures(3)).codes["knob1"])


def test_samples_have_the_stated_shapes_and_ranges() -> None:
    samples = small_model(channels=3, size=13).sample(7, seed=1)
    assert samples.images.shape == (7, 3, 13, 13)
    assert samples.images.dtype == np.uint8
    assert samples.codes["category"].dtype == np.int64
    assert set(samples.codes["category"].tolist()) <= set(range(10))
    assert np.abs(samples.codes["knob1"]).max() <= 1


def test_image_i_of_a_seed_is_the_same_for_every_count() -> None:
    model = small_model()
    long = model.sample(130, seed=9)
    for count in (1, 3, 16, 63, 64, 65, 129):
        short = model.sample(count, seed=9)
        assert np.array_equal(short.images, long.images[:count])
        assert np.array_equal(short.codes["knob2"], long.codes["knob2"][:count])
    assert not np.array_equal(model.sample(3, seed=8).images, long.images[:3])


def test_samples_do_not_depend_on_the_rest_of_the_batch() -> None:
    model = small_model(architecture="mlp")
    alone = [model.sample(1, seed=seed).images[0] for seed in range(5)]
    latents = [model._draw(1, seed) for seed in range(5)]
    together = model._generate(
        torch.cat([noise for noise, _ in latents]),
        {name: torch.cat([codes[name] for _, codes in latents]) for name in model.layout.codes},
    )
    for one, same in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - same.astype(int)).max() <= 1  # other sums, at most the last bit rounds


def test_held_codes_are_held_by_number_or_name() -> None:
    model = small_model()
    model.name_codes({"category": {3: "three"}})
    assert model.sample(5, codes={"category": "three"}).codes["category"].tolist() == [3] * 5
    assert model.sample(5, codes={"category": 4, "knob1": 0.5}).codes["knob1"].tolist() == [0.5] * 5
    assert model.sample(2, codes={"category": [1, 2]}).codes["category"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ({"kategory": 1}, ["'kategory'", "'category'"]),
        ({"category": 10}, ["0 to 9", "10"]),
        ({"category": -1}, ["0 to 9"]),
        ({"category": "seven"}, ["0 to 9", "'seven'"]),
        ({"category": 1.5}, ["0 to 9", "1.5"]),
        ({"category": float("inf")}, ["0 to 9", "inf"]),
        ({"category": float("nan")}, ["0 to 9", "nan"]),
        ({"knob1": 1.01}, ["-1 to 1", "1.01"]),
        ({"knob1": 10**400}, ["-1 to 1"]),
        ({"knob1": float("nan")}, ["-1 to 1"]),
        ({"knob1": "left"}, ["-1 to 1", "'left'"]),
        ({"category": [1, 2]}, ["2 values", "3 images"]),
    ],
)
def test_codes_that_are_not_taken_are_refused(codes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        small_model().sample(3, codes=codes)
    for word in words:
        assert word in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["category", "knob1"]), st.integers() | st.floats() | st.text(max_size=6))
def test_any_value_is_taken_or_refused_in_words(code: str, value: Any) -> None:
    try:
        MODEL.sample(2, codes={code: value})
    except UserError as error:
        assert code in str(error)


MODEL = small_model()


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (3, -1), (3, 2**63)])
def test_counts_and_seeds_out_of_range_are_refused(count: int, seed: int) -> None:
    with pytest.raises(UserError):
        MODEL.sample(count, seed=seed)


def test_a_traversal_varies_one_code_and_holds_the_rest() -> None:
    sheet = MODEL.traverse("category", rows=3, seed=4)
    assert sheet.shape == (3, 10, 1, 8, 8)
    drawn = MODEL.sample(3, seed=4)
    for row in range(3):
        value = int(drawn.codes["category"][row])
        assert np.abs(sheet[row, value].astype(int) - drawn.images[row].astype(int)).max() <= 1
    held = MODEL.traverse("knob1", values=[-1.0, 1.0], rows=2, codes={"category": 2})
    assert held.shape == (2, 2, 1, 8, 8)


def test_an_interpolation_goes_from_one_sample_to_the_other() -> None:
    for distribution in ("normal", "uniform"):
        model = small_model(distribution=distribution)
        way = model.interpolate(3, 8, steps=6)
        assert np.abs(way.images[0].astype(int) - model.sample(1, seed=3).images[0].astype(int)).max() <= 1
        assert np.abs(way.images[-1].astype(int) - model.sample(1, seed=8).images[0].astype(int)).max() <= 1
        assert np.all(np.diff(way.codes["knob1"]) * (way.codes["knob1"][-1] - way.codes["knob1"][0]) >= 0)
    with pytest.raises(UserError, match="at least 2"):
        MODEL.interpolate(0, 1, steps=1)


def test_an_encoding_is_probabilities_means_and_entropies() -> None:
    found = MODEL.encode(pictures(12))
    assert found.probabilities["category"].shape == (12, 10)
    np.testing.assert_allclose(found.probabilities["category"].sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(found.codes["category"], found.probabilities["category"].argmax(axis=1))
    p = found.probabilities["category"].astype(np.float64)
    np.testing.assert_allclose(found.entropy, -(p * np.log(p + 1e-30)).sum(axis=1), atol=1e-4)
    assert (found.deviations["knob1"] >= 0.1).all()


def test_the_batch_size_does_not_change_an_encoding() -> None:
    whole, parts = MODEL.encode(pictures(12)), MODEL.encode(pictures(12), batch_size=5)
    np.testing.assert_allclose(whole.codes["knob1"], parts.codes["knob1"], atol=1e-5)
    assert MODEL.encode(pictures(1)).codes["category"].shape == (1,)
    assert MODEL.encode(pictures(1)[:0]).codes["category"].shape == (0,)


def test_images_of_another_shape_or_type_are_refused() -> None:
    for wrong in (pictures(2, size=9), pictures(2, channels=3), pictures(2)[0]):
        with pytest.raises(UserError, match="this model reads uint8"):
            MODEL.encode(wrong)


def test_a_gan_cannot_encode() -> None:
    with pytest.raises(UserError, match="no recognizer"):
        small_model(kind="gan", codes=None).encode(pictures(2))


def test_likelihoods_are_of_the_codes_given() -> None:
    codes = {"category": np.array([1, 9]), "knob1": np.array([0.0, 1.0]), "knob2": np.array([-1.0, 0.5])}
    found = MODEL.log_likelihoods(pictures(2), codes)
    read = MODEL.encode(pictures(2))
    np.testing.assert_allclose(found["category"], np.log(read.probabilities["category"][[0, 1], [1, 9]]), atol=1e-5)


def test_names_by_labels_are_matched_one_to_one() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])
    images = pictures(60)
    groups = model.encode(images).codes["category"]
    model.name_codes_by_labels(images, (groups + 1) % 3, ["b", "c", "a"])
    present = sorted(set(groups.tolist()))
    assert [model.value_name("category", value) for value in present] == ["cab"[value] for value in present]


def test_a_value_without_a_name_goes_by_its_number_unless_another_is_called_so() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 4}])
    model.name_codes({"category": {0: "3"}})
    assert [model.value_name("category", value) for value in range(4)] == ["3", "1", "2", "category 3"]
    assert [model.is_named("category", value) for value in range(4)] == [True, False, False, False]
    for called, value in (("3", 0), ("category 3", 3), (3, 3), ("1", 1)):
        assert model.sample(1, codes={"category": called}).codes["category"] == [value]
    model.name_codes({"category": {0: ""}})
    assert [model.value_name("category", value) for value in range(4)] == ["0", "1", "2", "3"]


def test_values_that_share_a_name_take_turns() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 4}])
    model.name_codes({"category": {1: "owl", 3: "owl"}})
    assert model.sample(5, codes={"category": "owl"}).codes["category"].tolist() == [1, 3, 1, 3, 1]
    assert model.sample(3, codes={"category": "owl"}).codes["category"].tolist() == [1, 3, 1]


def test_an_order_is_kept_and_shown_everywhere(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    before = model.traverse("category", rows=2)
    model.order_values("category", [2, 0, 1])
    assert model.values_of("category") == [2, 0, 1]
    assert np.array_equal(model.traverse("category", rows=2), before[:, [2, 0, 1]])
    model.rename_code("category", "kind")
    model.save(tmp_path)
    assert InfoGAN.load(tmp_path).values_of("kind") == [2, 0, 1]
    for order in ([0, 1], [0, 1, 1], [0, 1, 3]):
        with pytest.raises(UserError, match="each of its values"):
            model.order_values("kind", order)
    with pytest.raises(UserError, match="continuous"):
        model.order_values("knob1", [0])


@pytest.mark.parametrize("wrong", [{"names": {"category": ["a"]}}, {"order": {"category": [0, 0, 1]}}])
def test_names_and_orders_that_were_spoilt_by_hand_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    small_model(codes=[{"kind": "categorical", "size": 3}]).save(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | wrong))
    with pytest.raises(UserError, match="category"):
        InfoGAN.load(tmp_path)


def test_given_noise_and_codes_are_drawn_and_noise_is_blended() -> None:
    for distribution in ("normal", "uniform"):
        model = small_model(distribution=distribution)
        samples = model.sample(3, seed=7)
        again = model.generate(
            model.noise(3, seed=7), {name: values.tolist() for name, values in samples.codes.items()}
        )
        assert np.array_equal(again, samples.images)
        start, end = model.noise(3, seed=7), model.noise(3, seed=8)
        way = torch.tensor([0.0, 0.5, 1.0])
        between = model.blended_noise(start, end, way)
        torch.testing.assert_close(between[0], start[0])
        torch.testing.assert_close(between[2], end[2])
        if distribution == "uniform":
            torch.testing.assert_close(between[1], (start[1] + end[1]) / 2)
        else:  # half way round, both ends weigh 1 / (2 cos(angle / 2))
            cosine = torch.dot(start[1], end[1]) / start[1].norm() / end[1].norm()
            torch.testing.assert_close(between[1], (start[1] + end[1]) / (2 * torch.cos(torch.arccos(cosine) / 2)))
        torch.testing.assert_close(model.blended_noise(start, start, way), start)
    with pytest.raises(UserError, match="no value"):
        model.generate(model.noise(1), {"category": 1})


@pytest.mark.parametrize(
    "names", [{"category": ["a"]}, {"category": {10: "a"}}, {"knob1": ["a"]}, {"none": ["a"]}, {"category": ["a"] * 11}]
)
def test_names_that_do_not_fit_are_refused(names: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        small_model().name_codes(names)


def test_a_code_that_is_renamed_is_the_same_code(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    model.name_codes({"category": ["a", "b", "c"]})
    before = model.sample(6, codes={"category": "b", "knob1": 0.5}, seed=3)
    model.rename_code("category", "digit")
    model.rename_code("knob1", "slant (°)")
    model.save(tmp_path)
    for renamed in (model, InfoGAN.load(tmp_path)):
        after = renamed.sample(6, codes={"digit": "b", "slant (°)": 0.5}, seed=3)
        assert np.array_equal(after.images, before.images)
        assert list(after.codes) == ["digit", "slant (°)"]
        assert renamed.value_name("digit", 2) == "c"
        with pytest.raises(UserError, match="category"):
            renamed.sample(1, codes={"category": 0})
    for old, new in [("digit", "slant (°)"), ("none", "x")]:
        with pytest.raises(UserError):
            model.rename_code(old, new)
    for bad in ("", "a=b", "../a", " a", "a\n", "x" * 65):
        with pytest.raises(UserError, match="can not be the name"):
            model.rename_code("digit", bad)
    model.rename_code("digit", "digit")
    assert list(model.layout.codes) == ["digit", "slant (°)"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"format": 2}'),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 100),
        ("model.safetensors", safetensors.torch.save({"other": torch.zeros(2)})),
    ],
)
def test_a_damaged_model_is_one_sentence(tmp_path: Path, file: str, content: bytes) -> None:
    MODEL.save(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        InfoGAN.load(tmp_path)
    assert "\n" not in str(caught.value)


LOAD = """
import resource, sys
from infogan.errors import UserError
from infogan.model import InfoGAN
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    InfoGAN.load(sys.argv[1])
except UserError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("networks", {"architecture": "mlp", "width": 10**6}),
        ("codes", [{"kind": "categorical", "name": "category", "size": 10**6}]),
    ],
)
def test_what_a_stranger_promises_is_compared_with_what_is_there_before_memory_is_taken(
    tmp_path: Path, key: str, value: Any
) -> None:
    small_model().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = [sys.executable, "-c", LOAD, str(tmp_path)]
    told, grown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert "config.json" in told
    assert int(grown) < 300 * 1024  # KiB: of imports; the networks that are told of have tens of GiB


@pytest.mark.parametrize(("key", "value"), [("size", 10**9), ("size", 7), ("channels", 2), ("channels", 10**9)])
def test_images_that_no_network_draws_are_refused(tmp_path: Path, key: str, value: int) -> None:
    small_model().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(UserError, match=key):
        InfoGAN.load(tmp_path)


def test_a_model_that_is_truly_large_loads(tmp_path: Path) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 5000}])
    model.save(tmp_path)
    assert (InfoGAN.load(tmp_path).sample(2).images == model.sample(2).images).all()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run folder with a model nor a model folder"):
        InfoGAN.load(tmp_path)


def test_numbers_that_are_labels_mean_those_labels_alone() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}])
    images = pictures(60)
    found = model.encode(images).codes["category"]
    value = int(np.bincount(found).argmax())
    of_value = images[found == value]
    # All images of one value carry the label that is another value's number.
    label = str((value + 1) % 3)
    model.name_codes_by_labels(of_value, np.zeros(len(of_value), np.int64), [label])
    names = [model.value_name("category", i) for i in range(3)]
    assert names[value] == label
    assert names[(value + 1) % 3] == f"category {label}"
    assert len(set(names)) == 3
    # A label of which no image is in a value that is left over names none.
    model.name_codes_by_labels(of_value, np.arange(len(of_value)) % 2, ["owl", "elk"])
    assert sum(model.value_name("category", i) in ("owl", "elk") for i in range(3)) == 1


def test_a_lattice_varies_two_codes_and_holds_the_rest() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}, {"kind": "continuous"}])
    lattice = model.lattice("category", "knob2", rows=[-1.0, 0.25], codes={"knob1": 0.5}, seed=4)
    assert lattice.shape == (2, 3, 1, 8, 8)
    for row, knob in enumerate((-1.0, 0.25)):
        for value in range(3):
            alone = model.sample(1, codes={"category": value, "knob1": 0.5, "knob2": knob}, seed=4).images[0]
            # Batches of another size may round another way.
            assert np.abs(lattice[row, value].astype(int) - alone.astype(int)).max() <= 1
    assert model.lattice("knob1", "category").shape == (3, 10, 1, 8, 8)
    with pytest.raises(UserError, match="two codes"):
        model.lattice("knob1", "knob1")


def test_a_call_draws_what_sample_does_in_the_type_that_is_asked_for() -> None:
    model = small_model(channels=3)
    images = model.sample(3, codes={"category": 2}).images
    pictures = model(3, codes={"category": 2})
    assert [picture.size for picture in pictures] == [(8, 8)] * 3
    assert np.array_equal(np.asarray(pictures[1]), images[1].transpose(1, 2, 0))
    array, tensor = (model(3, codes={"category": 2}, output_type=kind) for kind in ("np", "pt"))
    np.testing.assert_allclose(array, images.transpose(0, 2, 3, 1) / 255, atol=1e-7)
    assert np.array_equal(tensor.numpy().transpose(0, 2, 3, 1), array)
    chance = torch.Generator().manual_seed(5)
    first, second = (model(1, generator=chance, output_type="np") for _ in range(2))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, model(1, generator=torch.Generator().manual_seed(5), output_type="np"))
    with pytest.raises(UserError, match="unknown output_type 'jpg'"):
        model(1, output_type="jpg")


def test_a_reconstruction_is_drawn_from_what_is_read() -> None:
    model = small_model()
    images = model.sample(6, seed=3).images
    read = model.encode(images).codes
    given = {name: np.clip(values, -1, 1) if values.dtype == np.float32 else values for name, values in read.items()}
    expected = [
        model.generate(model.noise(1, seed=2), {name: [values[place].item()] for name, values in given.items()})[0]
        for place in range(6)
    ]
    found = model.reconstruct(images, seed=2)
    assert found.shape == images.shape
    assert np.abs(found.astype(int) - np.stack(expected)).max() <= 1  # in another batch
    with pytest.raises(UserError, match="no recognizer"):
        small_model(kind="gan").reconstruct(images)

"""What options mean: presets, layers and assignments put together, and what images, devices and clocks fill in."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import infogan
from infogan.api import resolve
from infogan.api.resolve import (
    compose,
    counts_categories,
    parse_augmentations,
    parse_knobs,
    validate,
    with_categories,
)
from infogan.api.resolve import (
    resolve as resolve_options,
)
from infogan.config import presets
from infogan.config.load import build, merge
from infogan.config.schema import Config, ContinuousCode
from infogan.data import load
from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.factors import Factors
from infogan.training.losses import check_losses
from infogan.training.run_dir import RunFolder
from infogan.training.time_budget import RESERVE, Timing, within
from infogan.utils.errors import UserError
from tests.helpers import SEPARATE_RECOGNIZER, image_set, small_config

KNOB: dict[str, Any] = {"kind": "continuous"}
DIGITS = {"data": {"source": "digits"}}


def build_composed(recipe: str, *layers: dict[str, Any], assignments: tuple[str, ...] = (), **codes: Any) -> Config:
    return build(compose(recipe, layers, assignments, **codes))


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that hooks take 6 s and the steps of the four stages of `robust` 50, 100, 50 and 60 ms."""
    monkeypatch.setattr(resolve, "measure", lambda *_: Timing(6.0, (0.05, 0.1, 0.05, 0.06)))


# Layers.


def test_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"'pots'.*'post'"):
        compose("pots")


def test_layers_and_assignments_are_applied_in_order() -> None:
    layers = ({"train": {"seed": 1, "batch_size": 32}}, {"train": {"seed": 2}})
    train = build_composed("plain", *layers, assignments=("train.batch_size=8", "noise.size=7")).train
    assert (train.seed, train.batch_size) == (2, 8)
    assert presets.PRESETS["plain"]["train"] == {"steps": 4000, "batch_size": 128}  # the preset itself is unchanged


def test_names_of_version_0_1_are_accepted_in_layers() -> None:
    layer = {"train": {"pieces": 2}, "invariance": {"flip": 0.5}}
    config = build_composed("plain", layer)
    assert (config.train.accumulation_steps, config.augment.strengths) == (2, {"flip": 0.5})


def test_codes_replace_those_of_the_same_kind() -> None:
    def sizes(*layers: dict[str, Any], **codes: Any) -> list[int | str]:
        config = build_composed("plain", *layers, **codes)
        return [code.size if code.kind == "categorical" else code.name for code in config.codes]

    assert sizes() == [10, "knob1", "knob2"]
    assert sizes(categorical=[4, 3]) == [4, 3, "knob1", "knob2"]
    assert sizes(continuous=1) == [10, "knob1"]
    assert sizes(categorical=[], continuous=1) == ["knob1"]
    assert sizes({"codes": [{"kind": "categorical", "size": 7}]}, continuous=2) == [7, "knob1", "knob2"]
    # Further knobs are like the first one of the recipe.
    assert [code.weight for code in build_composed("robust", continuous=3).codes] == [1.0, 0.3, 0.3, 0.3]


def test_first_categorical_code_of_an_encoder_has_a_learned_prior() -> None:
    codes = [KNOB, {"kind": "categorical", "size": 3}, {"kind": "categorical", "size": 4}]
    dumped = build_composed("robust", {"codes": codes}).model_dump()["codes"]
    assert [code.get("prior") for code in dumped] == [None, "learned", "uniform"]
    codes[1] = {**codes[1], "prior": [0.5, 0.25, 0.25]}
    assert build_composed("robust", {"codes": codes}).model_dump()["codes"][1]["prior"] == (0.5, 0.25, 0.25)


def test_gan_and_cgan_have_no_codes_and_no_losses_on_them() -> None:
    for recipe in presets.PRESETS:
        for kind in ("gan", "cgan"):
            config = build_composed(recipe, {"objective": {"kind": kind}})
            assert config.codes == ()
            updates = [update for stage in config.stages for update in stage.updates]
            assert {update.networks for update in updates} == {("discriminator",), ("generator",)}
            assert all(update.losses.keys() - {"diversity"} == {"adversarial"} for update in updates)


def test_without_a_categorical_code_there_is_no_encoder() -> None:
    config = build_composed("robust", {"codes": [KNOB]})
    assert not config.networks.encoder
    assert [stage.name for stage in config.stages] == ["gan"]


def test_declared_knobs_are_parsed_with_or_without_a_range() -> None:
    codes = parse_knobs(["slant, rotate=20", "hue"])
    assert [(code["name"], code["follows"], code["range"]) for code in codes] == [
        ("slant", "slant", 0.0),
        ("rotate", "rotate", 20.0),
        ("hue", "hue", 0.0),
    ]
    assert parse_knobs([]) == parse_knobs([""]) == []
    for text in ("slat", "slant=x", "slant=-1", "slant=61", "rotate=nan", "slant,slant"):
        with pytest.raises(UserError):
            parse_knobs([text])


@pytest.mark.parametrize(("recipe", "undeclared"), [("robust", 2), ("plain", 2), ("paper", 2)])
def test_declared_knobs_come_before_others_and_a_reader_learns_before_the_generator(
    recipe: str, undeclared: int
) -> None:
    config = build(compose(recipe, knobs=["slant", "size=0.5"]))
    continuous = [code for code in config.codes if isinstance(code, ContinuousCode)]
    assert [code.name for code in continuous[:3]] == ["slant", "size", "knob1"]
    assert len(continuous) == 2 + len(build(compose(recipe)).codes) - 1
    assert config.declared == tuple(continuous[:2])
    names = [stage.name for stage in config.stages]
    read = names.index("read")
    assert config.stages[read].updates[0].networks == ("reader",)
    generating = config.stages[read + 1]
    assert "calibrate" in generating.on_start
    assert any("generator" in update.networks for update in generating.updates)
    assert config.stages[read].share == pytest.approx(generating.share / 5)
    check_losses(config)
    assert build(compose(recipe, [config.model_dump(mode="json", exclude_none=True)])) == config
    none_left = build(compose(recipe, knobs=["slant"], continuous=0))
    assert [code.name for code in none_left.codes if isinstance(code, ContinuousCode)] == ["slant"]


def test_reader_is_calibrated_without_categories_and_scales_with_a_budget() -> None:
    config = build(compose("robust", categorical=[], knobs="slant"))
    assert [stage.name for stage in config.stages] == ["read", "gan"]
    assert config.stages[1].on_start == ("calibrate",)
    for recipe in ("plain", "paper", "post"):
        config = build(compose(recipe, knobs=["slant"]))
        stages = within(600, config, Timing(1.0, (0.02, 0.02))).config.stages
        assert stages[0].share == pytest.approx(stages[1].share / 5, rel=0.01)
    # Steps of the reader are none of the generator: the warning is about these.
    steps = resolve_options(compose("robust", knobs=["slant"]), image_set(300), timed=False).config.stage_steps
    assert steps[3] == pytest.approx(steps[4] / 5)


def test_declared_codes_that_cannot_be_are_refused() -> None:
    twice = [{"kind": "continuous", "name": name, "follows": "slant"} for name in ("a", "b")]
    for codes in (twice, [{"kind": "continuous", "range": 5}]):
        with pytest.raises(UserError):
            build(compose("plain", [{"codes": codes}]))
    options = compose("plain", [{"codes": [{"kind": "continuous", "follows": "slant", "range": 61}]}])
    with pytest.raises(UserError, match="60"):
        resolve_options(options, image_set())


def test_a_reader_does_not_shrink_the_batches_of_the_generator() -> None:
    config = resolve_options(compose("paper", knobs=["slant"]), image_set(300), timed=False).config
    assert config.train.batch_size == 128
    assert [config.batch_size(stage) for stage in range(2)] == [256, 128]


def test_knobs_need_an_infogan_and_colour_for_a_hue() -> None:
    for kind in ("gan", "cgan"):
        with pytest.raises(UserError, match="knobs"):
            compose("robust", [{"objective": {"kind": kind}}], knobs=["slant"])
    options = compose("plain", [{"data": {"source": "bars"}}], knobs=["hue"])
    with pytest.raises(UserError, match="hue"):
        resolve_options(options, image_set())
    assert resolve_options(options, image_set(channels=3), timed=False).config.declared[0].follows == "hue"


def test_few_labels_add_a_loss_where_categories_form() -> None:
    config = build_composed("robust", {"data": {"labels": "some.csv"}})
    weights = [stage.updates[0].losses.get("supervised") for stage in config.stages]
    assert weights == [None, presets.SUPERVISED_WEIGHT, presets.SUPERVISED_WEIGHT, None]
    heavier = build_composed(
        "robust", {"data": {"labels": "some.csv"}}, assignments=("stages.1.updates.0.losses.vat=2",)
    )
    assert heavier.stages[1].updates[0].losses["supervised"] == presets.SUPERVISED_WEIGHT


def augmentations(images: ImageSet, *layers: dict[str, Any]) -> dict[str, float]:
    """Return the augmentations of a run on images."""
    return resolve.resolve(compose("robust", layers), images, timed=False).config.augment.strengths


def test_usual_augmentations_depend_on_the_images_and_not_on_their_name() -> None:
    grey, colour = image_set(300), ImageSet(np.zeros((300, 3, 8, 8), np.uint8), NumberedNames(300), "x")
    assert build_composed("robust", DIGITS).augment.usual  # until the images are known
    for name in ("digits", "mnist", "some/folder"):
        layer = {"data": {"source": name}}
        assert augmentations(grey, layer) == presets.USUAL_AUGMENTATIONS["grey"]
        assert augmentations(colour, layer) == presets.USUAL_AUGMENTATIONS["colour"]
    factors = replace(grey, factors=Factors(("a",), (2,), np.zeros((300, 1), np.int64)))
    assert augmentations(factors) == {"colour": 0.4}


def test_bands_that_images_lack_are_refused_before_training() -> None:
    images = ImageSet(np.zeros((300, 5, 8, 8), np.uint8), NumberedNames(300), "x")
    for bands, refused in (((5, 1, 2), False), ((6, 1, 2), True)):
        options = compose("robust", [{"data": {"bands": bands}}])
        with pytest.raises(UserError, match="5 channels") if refused else nullcontext():
            resolve.resolve(options, images, timed=False)


def test_contrast_is_part_of_every_view_of_grey_images_alone() -> None:
    grey, colour = image_set(300), ImageSet(np.zeros((300, 3, 8, 8), np.uint8), NumberedNames(300), "x")
    assert augmentations(grey, {"augment": {"flip": 0.5}}) == {"flip": 0.5, "colour": 0.4}
    assert augmentations(grey, {"augment": {"flip": 0.5, "colour": 0.1}}) == {"flip": 0.5, "colour": 0.1}
    assert augmentations(grey, {"augment": {"flip": 0.5, "colour": 0}}) == {"flip": 0.5}
    assert augmentations(colour, {"augment": {"flip": 0.5}}) == {"flip": 0.5}
    without = resolve.resolve(compose("plain", [{"augment": {}}]), grey, timed=False).config.augment
    assert without.strengths == {}
    # A configuration that was printed is the same run again.
    printed = json.loads(build_composed("robust", {"augment": {"flip": 0.5}}).model_dump_json())
    assert augmentations(grey, printed) == {"flip": 0.5, "colour": 0.4}


def test_augmentations_are_parsed_with_or_without_a_strength() -> None:
    assert parse_augmentations("shift, rotate=30") == {"shift": 0.1, "rotate": 30.0}
    assert parse_augmentations("none") == {}
    with pytest.raises(UserError, match=r"'rotat'.*'rotate'"):
        parse_augmentations("rotat")
    with pytest.raises(UserError, match="'rotate' must be a number, not 'much'"):
        parse_augmentations("rotate=much")


def test_configuration_that_was_printed_is_the_same_run_again() -> None:
    for recipe in presets.PRESETS:
        config = build_composed(recipe)
        assert build_composed(recipe, json.loads(config.model_dump_json())) == config


# Lengths.


def test_length_replaces_that_of_another_unit() -> None:
    assert build_composed("robust").train.default_length
    assert build_composed("plain", {"train": {"budget": "auto"}}).train.default_length  # as in version 0.1
    for assignment in ("train.steps=77", "train.images_seen=77", "train.budget=77.0"):
        assert not build_composed("robust", assignments=(assignment,)).train.default_length
    assert build_composed("post", {"train": {"budget": 5.0}}).train.budget == 5
    file = {"train": {"steps": 300, "budget": 60.0, "images_seen": None, "seed": 3}}
    train = build_composed("robust", file, {"train": {"steps": 7}}).train
    assert (train.steps, train.budget, train.images_seen, train.seed) == (7, None, None, 3)
    train = build_composed("robust", file, assignments=("train.images_seen=5000",)).train
    assert (train.images_seen, train.budget) == (5000, None)
    train = build_composed("robust", file, {"train": {"seed": 4}}).train
    assert (train.steps, train.budget, train.seed) == (300, 60.0, 4)


def test_wrong_types_are_reported_when_the_options_are_validated() -> None:
    for section in ("train", "codes", "stages", "networks", "data", "objective", "augment"):
        with pytest.raises(UserError, match=section):
            validate(compose("robust", [{"train": {"steps": 1}}, {section: 3}]))
    with pytest.raises(UserError, match=r"train\.steps=1"):
        compose("robust", [{"train": {"steps": 1}}, {"train": 3}], ["train.steps=1"])


@pytest.mark.parametrize("value", ["0", "-1"])
def test_budget_outside_its_range_is_refused_with_the_range(value: str) -> None:
    with pytest.raises(UserError, match=rf"train\.budget is {value}: .*greater than 0"):
        validate(compose("robust", [], [f"train.budget={value}"]))


def test_budget_of_another_type_is_refused_with_the_types() -> None:
    with pytest.raises(UserError, match=r"train\.budget is 'often': .*number$"):
        validate(compose("robust", [], ["train.budget=often"]))


def test_images_seen_come_to_the_fewest_steps_that_show_them() -> None:
    options = compose("robust", [DIGITS, {"train": {"images_seen": 100_000}}])
    config = resolve.resolve(options, load("digits")).config
    assert config.train.budget is None
    assert config.images_seen(config.train.steps) == pytest.approx(100_000, rel=0.02)


def stage_steps(size: int, channels: int, *assignments: str, count: int = 16_000) -> list[int]:
    """Return the steps of the stages of `robust` for images of a size."""
    pixels = np.broadcast_to(np.uint8(0), (count, channels, size, size))
    images = ImageSet(pixels, NumberedNames(count), "zeros")
    return resolve.resolve(compose("robust", (), assignments), images, timed=False).config.stage_steps


def test_default_length_is_a_number_of_steps_that_the_size_and_the_colour_decide() -> None:
    assert stage_steps(8, 1) == stage_steps(32, 1) == [600, 900, 1400, 4000]
    assert stage_steps(8, 1, count=15_625) == [600, 900, 1400, 4000]  # a million values
    assert stage_steps(8, 1, count=15_624) == [240, 360, 560, 600]
    assert stage_steps(33, 1) == [600, 900, 1400, 6000]
    assert stage_steps(32, 3) == [600, 900, 1400, 5000]
    assert stage_steps(48, 3) == [600, 900, 1400, 7500]
    assert sum(stage_steps(48, 3, "train.steps=7")) == 7


@pytest.mark.usefixtures("slow_clock")
def test_default_length_does_not_depend_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_set(300)
    slow = resolve.resolve(compose("robust"), images)
    monkeypatch.setattr(resolve, "measure", lambda *_: Timing(0.0, (1e-4,) * 4))
    fast = resolve.resolve(compose("robust"), images)
    assert slow.config == fast.config
    assert slow.timing is not None
    expected = (6 + 240 * 0.05 + 360 * 0.1 + 560 * 0.05 + 600 * 0.06) / (1 - RESERVE)
    assert slow.timing.total(slow.config) == pytest.approx(expected)
    # Its configuration, given again as a file, is the same run, whatever images it is for.
    again = resolve.resolve(compose("robust", [slow.config.model_dump(mode="json")]), images).config
    assert again == slow.config


# Few images.


@pytest.mark.parametrize(
    ("count", "batch_size", "factor"),
    [(30, 30, 1), (63, 63, 1), (64, 32, 2), (100, 33, 3), (128, 32, 4), (255, 63, 4), (256, 64, 4), (1000, 64, 4)],
)
def test_batches_adapt_to_few_images(count: int, batch_size: int, factor: int) -> None:
    plan = resolve.resolve(compose("robust"), image_set(count), timed=False)
    assert (plan.config.train.batch_size, plan.config.batch_size(0)) == (batch_size, batch_size * factor)
    assert plan.config.batch_size(3) == batch_size
    assert len(plan.warnings) == (count < 256) + (count < resolve.FEW_IMAGES)
    assert all(str(count) in warning for warning in plan.warnings)


@pytest.mark.parametrize(("count", "categories", "least"), [(7, 2, 8), (9, 5, 10)])
def test_too_few_images_for_the_categories_are_refused(count: int, categories: int, least: int) -> None:
    options = compose("robust", categorical=[categories])
    with pytest.raises(UserError, match=rf"{count} images.* {least} are needed"):
        resolve.resolve(options, image_set(count), timed=False)
    assert resolve.resolve(options, image_set(least), timed=False).config.largest_batch[0] == least


def test_fewer_images_are_generated_for_evaluation_if_they_are_large() -> None:
    def samples(size: int, channels: int, *assignments: str) -> int:
        pixels = np.broadcast_to(np.uint8(0), (300, channels, size, size))
        images = ImageSet(pixels, NumberedNames(300), "zeros")
        return resolve.resolve(compose("robust", (), assignments), images, timed=False).config.evaluation.samples

    assert samples(256, 1) == 8192
    assert samples(256, 3) == 2730
    assert samples(128, 3) == samples(133, 3) == 10_000
    assert samples(256, 3, "evaluation.samples=5000") == 5000


def test_large_images_have_spectral_norm_and_smaller_learning_rates() -> None:
    def rates(options: presets.Options) -> list[float]:
        return [update["learning_rate"] for update in options["stages"][-1]["updates"]]

    options = compose("robust", [], ["train.budget=100"])
    assert resolve._for_images(options, image_set(9, size=32)) == options
    large = resolve._for_images(options, image_set(9, size=33))
    assert build(large).networks.spectral_norm
    assert rates(large) == [resolve.RATE_OF_LARGE] * 2
    assert large["stages"][:3] == options["stages"][:3]
    gan = resolve._for_images(compose("robust", [{"objective": {"kind": "gan"}}]), image_set(9, size=64))
    assert rates(gan) == [resolve.RATE_OF_LARGE] * 2
    for recipe in ("plain", "paper", "post", "disentangle"):
        assert resolve._for_images(compose(recipe), image_set(9, size=64)) == compose(recipe)
    # Options that are given are not changed.
    without_norm = resolve._for_images(compose("robust", [], ["networks.spectral_norm=false"]), image_set(9, size=64))
    assert not build(without_norm).networks.spectral_norm
    assert rates(without_norm) == [resolve.RATE_OF_LARGE] * 2
    faster = resolve._for_images(compose("robust", [], ["stages.3.updates.0.learning_rate=0.1"]), image_set(9, size=64))
    assert rates(faster) == [0.1, resolve.RATE_OF_LARGE]
    # A configuration that was printed is the same run again.
    printed = json.loads(build(options).model_dump_json())
    assert build(resolve._for_images(compose("robust", [printed]), image_set(9, size=64))) == build(
        large_again := resolve._for_images(options, image_set(9, size=64))
    )
    assert rates(large_again) == [resolve.RATE_OF_LARGE] * 2


# Losses.


@pytest.mark.parametrize(
    ("layers", "assignments"),
    [
        ([], ["stages.0.updates.0.losses.nt_xnet=1"]),
        ([{"stages": compose("robust")["stages"]}], ["stages.1.updates.0.terms.nt_xnet=1"]),
    ],
)
def test_misspelt_loss_is_refused_with_the_nearest_name(layers: list[dict[str, Any]], assignments: list[str]) -> None:
    with pytest.raises(UserError, match=r"'nt_xnet'.*'nt_xent'"):
        validate(compose("robust", layers, assignments))


def test_encoder_needs_augmentations() -> None:
    with pytest.raises(UserError, match="--augment"):
        validate(compose("robust", [{"augment": {}}]))


# Images.


def resolved(options: dict[str, Any], images: ImageSet | None = None, run: Path | None = None) -> Config:
    return resolve.resolve(options, images or image_set(), run=run).config


def small_options(**sections: Any) -> dict[str, Any]:
    """Return options for 8x8 images whose size and channels are still to be filled in."""
    layer = {"networks": {"width": 4}, "train": {"steps": 6, "batch_size": 16}}
    return compose("plain", [SEPARATE_RECOGNIZER, layer, sections])


def test_size_and_channels_are_those_of_the_images() -> None:
    data = resolved(small_options(data={"source": "x"}), image_set(channels=3)).data
    assert (data.source, data.size, data.channels) == ("x", 8, 3)


def test_cgan_has_a_code_for_the_labels() -> None:
    (label,) = resolved(small_options(objective={"kind": "cgan"})).model_dump()["codes"]
    assert (label["name"], label["size"]) == ("label", 2)
    with pytest.raises(UserError, match="label for each image"):
        resolved(small_options(objective={"kind": "cgan"}), image_set(labelled=False))


def test_size_that_networks_cannot_have_is_refused() -> None:
    with pytest.raises(UserError, match=r"paper.*10|10.*paper"):
        resolved(compose("paper", [{"train": {"batch_size": 16}}]), image_set(size=10))


def robust_options(tmp_path: Path, categories: int | str, labels: str = "") -> dict[str, Any]:
    (tmp_path / "labels.csv").write_text(f"image,label\n{labels}")
    data = {"labels": str(tmp_path / "labels.csv")} if labels else {}
    layer = {"networks": {"width": 4, "encoder_width": 4}, "train": {"steps": 6, "batch_size": 4}, "data": data}
    return compose("robust", [layer], categorical=[categories])


def test_fewer_categories_than_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3 different labels.*2 categories"):
        resolved(robust_options(tmp_path, 2, "1,a\n2,b\n3,c\n"))
    assert resolved(robust_options(tmp_path, 3, "1,a\n2,b\n3,c\n")).category_sizes == (3,)


# The number of categories.


def test_number_of_the_first_categorical_code_can_be_left_open() -> None:
    counted, other = {"kind": "categorical", "size": "auto"}, {"kind": "categorical", "size": 3}
    options = {"codes": [KNOB, counted, other]}
    assert counts_categories(options)
    assert with_categories(options, 7) == {"codes": [KNOB, {**counted, "size": 7}, other]}
    assert not counts_categories({"codes": [other]})
    with pytest.raises(UserError, match="only the first categorical code"):
        with_categories({"codes": [other, counted]}, 7)


def test_categories_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Range:
        high = 5

    monkeypatch.setattr(resolve, "count_categories", lambda *_: Range())
    options, run = robust_options(tmp_path, "auto"), RunFolder.at(tmp_path / "run")
    config = resolved(options, run=run.path)
    assert config.category_sizes == (5,)
    run.begin(config, "x")
    Range.high = 9
    assert resolved(options, run=run.path) == config
    labels = "".join(f"{number},{number}\n" for number in range(11))
    assert resolved(robust_options(tmp_path, "auto", labels)).category_sizes == (11,)  # as many as there are labels


# Runs that exist.


@pytest.mark.usefixtures("slow_clock")
def test_budget_of_a_run_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, run = compose("robust", [DIGITS, {"train": {"budget": 500.0}}]), RunFolder.at(tmp_path / "run")
    images = load("digits")
    config = resolved(options, images, run.path)
    run.begin(config, "x")
    monkeypatch.setattr(resolve, "measure", lambda *_: Timing(0.0, (0.01,) * 4))  # a faster machine resumes the run
    assert resolved(options, images, run.path) == config
    assert resolved(options, images) != config


def test_budget_is_measured_on_real_steps_once(tmp_path: Path) -> None:
    options = small_options(**DIGITS, train={"budget": 600.0})
    run, images = RunFolder.at(tmp_path / "run"), load("digits")
    config = resolved(options, images, run.path)
    assert config.train.steps > 50
    run.begin(config, "x")
    assert resolved(options, images, run.path) == config  # whatever the clock says


def old_run(path: Path, config: Config) -> RunFolder:
    """Begin a run and let it look as if version 0.1.0 had begun it."""
    run = RunFolder.at(path)
    run.begin(config, "x")
    sessions = run.read_environment()
    sessions[0]["infogan"] = "0.1.0"
    (path / "environment.json").write_text(json.dumps(sessions))
    return run


@pytest.mark.parametrize("preset", ["robust", "plain"])
def test_run_of_another_version_keeps_its_options_whatever_the_preset_has_become(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    layer = {**DIGITS, "train": {"steps": 30, "batch_size": 16}, "networks": {"width": 4}}
    images = load("digits")
    old = resolved(compose(preset, [layer], continuous=1), images)
    run = old_run(tmp_path / "run", old)
    changed = merge(presets.PRESETS[preset], {"noise": {"size": 11}, "networks": {"architecture": "mlp"}})
    stages = [
        {**stage, "updates": [{**update, "learning_rate": 9e-9} for update in stage["updates"]]}
        for stage in changed["stages"]
    ]
    monkeypatch.setitem(presets.PRESETS, preset, {**changed, "stages": stages})
    monkeypatch.setitem(presets.USUAL_AUGMENTATIONS, "grey", {"flip": 0.5, "colour": 0.9})

    options = compose(preset, [layer], continuous=1, run=run.path)
    config = resolved(options, images, run.path)
    assert config == old
    run.begin(config, "x")  # the same command resumes the run
    assert len(run.read_environment()) == 2
    other = resolved(compose(preset, [layer], ["train.seed=1"], continuous=1, run=run.path), images, run.path)
    with pytest.raises(UserError, match=r"train\.seed was 0, now 1"):
        run.begin(other, "x")
    # A run of this version follows the preset, and a changed preset is reported.
    new = RunFolder.at(tmp_path / "new")
    new.begin(old, "x")
    with pytest.raises(UserError, match="another configuration"):
        new.begin(resolved(compose(preset, [layer], continuous=1, run=new.path), images, new.path), "x")


@pytest.mark.parametrize("length", [{"budget": 500.0}, {}])
@pytest.mark.usefixtures("slow_clock")
def test_run_of_another_version_keeps_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: dict[str, float]
) -> None:
    images = image_set(300, size=40)  # so large that the default length grows
    options = compose("robust", [{"train": length}])
    old = resolved(options, images)
    run = old_run(tmp_path / "run", old)
    monkeypatch.setitem(presets.PRESETS, "robust", merge(presets.PRESETS["robust"], {"noise": {"size": 11}}))
    monkeypatch.setattr(resolve, "measure", lambda *_: Timing(0.0, (0.01,) * 4))
    assert resolved(compose("robust", [{"train": length}], run=run.path), images, run.path) == old


def test_folder_without_a_run_changes_nothing(tmp_path: Path) -> None:
    assert compose("plain", run=tmp_path / "nothing") == compose("plain", run=tmp_path) == compose("plain")


def test_this_version_is_not_0_1() -> None:
    assert infogan.__version__ != "0.1.0"  # otherwise the tests above would test nothing


# Devices.


def test_plan_has_the_images_that_it_was_made_for() -> None:
    images = image_set()
    plan = resolve.resolve(small_options(), images)
    assert plan.images is images
    assert (plan.categories, plan.few_labels, plan.timing) == (None, None, None)
    assert np.array_equal(plan.images.images, image_set().images)
    assert plan.config.train.steps == small_config().train.steps

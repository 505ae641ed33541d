"""Files of version 0.1: every name that changed is read, and files of today are left as they are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infogan.api.resolve import compose
from infogan.config import migrate, presets
from infogan.config.load import build
from infogan.config.migrate import (
    FORMAT,
    migrate_assignment,
    migrate_checkpoint,
    migrate_config,
    migrate_model_config,
    migrate_model_tensors,
    migrate_options,
    migrate_statistics,
)
from infogan.config.schema import (
    Config,
    DataSettings,
    NetworkSettings,
    Stage,
    TrainSettings,
    Update,
)
from infogan.training.losses import LOSSES
from infogan.training.stage_hooks import STAGE_HOOKS
from tests.config.test_load import TREES

# Every name that changed, as version 0.1 wrote it: the migration must have an entry for each.
OLD: dict[str, Any] = {
    "data": {"source": "digits", "fit": "pad"},
    "invariance": {"flip": 0.5},
    "networks": {"encoder": True, "comparer": True},
    "train": {
        "images": 1000,
        "pieces": 2,
        "synchronise": False,
        "report_every": 3,
        "picture_every": 4,
        "picture": "one-value",
    },
    "stages": [
        {
            "name": "features",
            "stretches": False,
            "begin": ["cluster", "refine", "prior"],
            "updates": [
                {
                    "players": ["encoder"],
                    "terms": {
                        "contrast": 1.0,
                        "smoothness": 2.0,
                        "consistency": [0.0, 1.5],
                        "confidence": 0.3,
                        "balance": 4.0,
                        "supervision": 5.0,
                    },
                    "learning_rate": 1e-3,
                },
                {
                    "players": ["comparer"],
                    "terms": {"sharing": 1.0, "varying": 2.0, "adversarial": 3.0},
                    "learning_rate": 1e-3,
                },
            ],
        },
    ],
}
NEW: dict[str, Any] = {
    "data": {"source": "digits", "shape": "pad"},
    "augment": {"flip": 0.5},
    "networks": {"encoder": True, "pair_classifier": True},
    "train": {
        "images_seen": 1000,
        "accumulation_steps": 2,
        "sync_batchnorm": False,
        "log_every": 3,
        "sample_every": 4,
        "sample_grid": "one-value",
    },
    "stages": [
        {
            "name": "features",
            "scales_with_budget": False,
            "on_start": ["cluster", "freeze_if_diffuse", "learn_prior"],
            "updates": [
                {
                    "networks": ["encoder"],
                    "losses": {
                        "nt_xent": 1.0,
                        "vat": 2.0,
                        "uda": [0.0, 1.5],
                        "conditional_entropy": 0.3,
                        "marginal_kl": 4.0,
                        "supervised": 5.0,
                    },
                    "learning_rate": 1e-3,
                },
                {
                    "networks": ["pair_classifier"],
                    "losses": {"infogan_cr": 1.0, "variation_predictability": 2.0, "adversarial": 3.0},
                    "learning_rate": 1e-3,
                },
            ],
        },
    ],
}


# Options.


def test_every_old_option_is_renamed() -> None:
    assert migrate_options(OLD) == NEW
    assert OLD["train"]["pieces"] == 2  # the argument is unchanged


def test_migrated_options_are_valid() -> None:
    codes = [{"kind": "categorical", "size": 3}, {"kind": "continuous"}]
    build({**migrate_options(OLD), "codes": codes})


def test_migrating_twice_changes_nothing_more() -> None:
    assert migrate_options(NEW) == NEW
    for preset in presets.PRESETS.values():
        assert migrate_options(preset) == preset


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (migrate.OPTIONS[""], Config.model_fields),
        (migrate.OPTIONS["data"], DataSettings.model_fields),
        (migrate.OPTIONS["networks"], NetworkSettings.model_fields),
        (migrate.OPTIONS["train"], TrainSettings.model_fields),
        (migrate.OPTIONS["stages.#"], Stage.model_fields),
        (migrate.OPTIONS["stages.#.updates.#"], Update.model_fields),
        (migrate.OPTIONS["stages.#.on_start"], STAGE_HOOKS),
        (migrate.LOSSES, LOSSES),
        (migrate.NETWORKS, ["pair_classifier"]),
        (migrate.STAGE_NAMES, ["pretrain", "cluster", "self_train", "gan", "disentangle"]),
    ],
)
def test_tables_lead_from_names_that_are_gone_to_names_of_today(table: dict[str, str], names: Any) -> None:
    assert set(table.values()) <= set(names)
    assert not set(table) & set(names)
    assert len(set(table.values())) == len(table)


def test_every_table_entry_is_used() -> None:
    old_names = json.dumps(OLD)
    for table in migrate.OPTIONS.values():
        for name in table:
            assert f'"{name}"' in old_names, name


@given(TREES, st.sampled_from(["data", "invariance", "networks", "stages", "train"]))
def test_values_of_wrong_types_are_left_for_validation(value: Any, section: str) -> None:
    migrate_options({section: value})
    migrate_config({section: value})


@pytest.mark.parametrize(
    "options",
    [
        {"data": 3, "networks": [1], "train": None, "stages": {"a": 1}},
        {"stages": 3},
        {"stages": None},
        {"stages": [1, {"on_start": 2, "updates": {"a": 1}}]},
        {"stages": [{"on_start": [1, None], "updates": [2, {"networks": 3, "losses": [4]}, {"networks": [5]}]}]},
    ],
)
def test_tree_of_wrong_types_is_left_alone(options: dict[str, Any]) -> None:
    assert migrate_options(options) == options
    assert migrate_config(options) == {**options, "format": FORMAT}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("invariance.flip", "augment.flip"),
        ("data.fit", "data.shape"),
        ("networks.comparer", "networks.pair_classifier"),
        ("train.picture_every", "train.sample_every"),
        ("stages.0.begin", "stages.0.on_start"),
        ("stages.0.updates.1.players", "stages.0.updates.1.networks"),
        ("stages.0.updates.1.terms.varying", "stages.0.updates.1.losses.variation_predictability"),
        ("train.steps", "train.steps"),
        ("noise.pieces", "noise.pieces"),
        ("nothing", "nothing"),
    ],
)
def test_assigned_options_are_renamed(old: str, new: str) -> None:
    assert migrate_assignment(old) == new
    assert migrate_assignment(new) == new


# Configurations of runs and models.


def test_configuration_of_a_run_gets_names_of_stages_and_a_format() -> None:
    migrated = migrate_config(OLD)
    assert migrated["format"] == FORMAT
    assert [stage["name"] for stage in migrated["stages"]] == ["pretrain"]
    assert migrate_config(migrated) == migrated
    assert migrate_config({"stages": [{"name": name} for name in migrate.STAGE_NAMES]})["stages"] == [
        {"name": name} for name in migrate.STAGE_NAMES.values()
    ]


def test_files_of_today_and_of_later_versions_are_left_alone() -> None:
    config = json.loads(build(compose("robust")).model_dump_json())
    assert config["format"] == FORMAT
    assert migrate_config(config) == config
    later = {"format": FORMAT + 1, "train": {"pieces": 2}}
    assert migrate_config(later) == later
    assert migrate_model_config(later) == later


def test_names_that_a_person_chose_are_kept() -> None:
    stage = {"name": "mine", "updates": [{"networks": ["generator"], "losses": {"adversarial": 1.0}}]}
    assert migrate_config({"stages": [stage]})["stages"] == [stage]


def test_configuration_of_a_model_loses_the_digest_of_its_run() -> None:
    old = {"kind": "infogan", "networks": {"comparer": False}, "trained_as": "abc"}
    assert migrate_model_config(old) == {
        "kind": "infogan",
        "networks": {"pair_classifier": False},
        "trained_as": "",
        "format": FORMAT,
    }
    assert migrate_model_config(migrate_model_config(old)) == migrate_model_config(old)


def test_deeply_nested_trees_are_left_for_validation() -> None:
    nested: list[Any] = []
    for _ in range(5_000):
        nested = [nested]
    for tree in ({"data": nested}, {"stages": nested}, {"stages": [{"updates": nested}]}, {"unknown": nested}):
        assert migrate_options(tree).keys() == tree.keys()


# Tensors and statistics.


def test_tensors_of_a_model_are_renamed_and_those_of_training_left_out() -> None:
    tensors = {
        "generator.0.weight": 1,
        "comparer.head.weight": 2,
        "encoder.directions": 3,
        "encoder.prior": 4,
        "encoder.marginal": 5,
        "encoder.radius": 6,
        "encoder.pace": 7,
        "discriminator.radius": 8,
    }
    migrated = {
        "generator.0.weight": 1,
        "pair_classifier.head.weight": 2,
        "encoder.directions": 3,
        "encoder.prior": 4,
        "discriminator.radius": 8,
    }
    assert migrate_model_tensors(tensors) == migrated
    assert migrate_model_tensors(migrated) == migrated


def test_tensors_of_a_checkpoint_are_renamed() -> None:
    old = {
        "networks.generator.0.weight": 1,
        "networks.comparer.head.weight": 2,
        "networks.encoder.directions": 3,
        "networks.encoder.marginal": 4,
        "networks.encoder.radius": 5,
        "networks.encoder.pace": 6,
        "average.generator.0.weight": 7,
        "average.comparer.head.weight": 8,
        "average.encoder.marginal": 9,
        "average.encoder.radius": 10,
        "average.encoder.pace": 11,
        "optimisers.0.3.exp_avg": 12,
    }
    migrated = {
        "networks.generator.0.weight": 1,
        "networks.pair_classifier.head.weight": 2,
        "networks.encoder.directions": 3,
        "encoder_state.marginal": 4,
        "encoder_state.vat_radius": 5,
        "encoder_state.lr_scale": 6,
        "ema.generator.0.weight": 7,
        "ema.pair_classifier.head.weight": 8,
        "optimizers.0.3.exp_avg": 12,
    }
    assert migrate_checkpoint(old) == migrated
    assert migrate_checkpoint(migrated) == migrated
    assert set(migrate.CHECKPOINT_PARTS) == {"average", "optimisers"}
    assert set(migrate.ENCODER_STATE) == {"marginal", "radius", "pace"}


def test_statistics_are_renamed() -> None:
    old = {"step": 1, "seconds": 0.5, "stage": "game", "information/contrast": 1.0, "comparer/sharing": 2.0}
    old |= {f"encoder/{name}": 3.0 for name in migrate.LOSSES}
    migrated = {
        "step": 1,
        "seconds": 0.5,
        "stage": "gan",
        "information/contrast": 1.0,
        "pair_classifier/infogan_cr": 2.0,
    }
    migrated |= {f"encoder/{name}": 3.0 for name in migrate.LOSSES.values()}
    assert migrate_statistics(old) == migrated
    assert migrate_statistics(migrated) == migrated
    assert migrate_statistics({"generator+comparer/varying": 1.0}) == {
        "generator+pair_classifier/variation_predictability": 1.0
    }
    assert migrate_statistics({"stage": 3, "a": None}) == {"stage": 3, "a": None}

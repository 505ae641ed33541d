"""Migration of files of version 0.1: configurations, statistics and names of tensors.

Version 0.1 wrote no ``format`` (format 1); this version writes format 2. Every function returns a file of format 2
unchanged. `migrate_options` is also applied to what users write by hand, so that old option names keep working.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

FORMAT = 2
Value = TypeVar("Value")

SECTIONS = {"invariance": "augment"}
OPTIONS = {
    "data": {"fit": "shape"},
    "networks": {"comparer": "pair_classifier"},
    "train": {
        "images": "images_seen",
        "pieces": "accumulation_steps",
        "synchronise": "sync_batchnorm",
        "report_every": "log_every",
        "picture_every": "sample_every",
        "picture": "sample_grid",
    },
}
STAGE = {"stretches": "scales_with_budget", "begin": "on_start"}
UPDATE = {"players": "networks", "terms": "losses"}
NETWORKS = {"comparer": "pair_classifier"}
HOOKS = {"refine": "freeze_if_diffuse", "prior": "learn_prior"}
LOSSES = {
    "contrast": "nt_xent",
    "smoothness": "vat",
    "consistency": "uda",
    "confidence": "conditional_entropy",
    "balance": "marginal_kl",
    "supervision": "supervised",
    "sharing": "infogan_cr",
    "varying": "variation_predictability",
}
STAGE_NAMES = {
    "features": "pretrain",
    "classes": "cluster",
    "refinement": "self_train",
    "game": "gan",
    "apart": "disentangle",
}
CHECKPOINT_PARTS = {"average": "ema", "optimisers": "optimizers"}
ENCODER_STATE = {"marginal": "marginal", "radius": "vat_radius", "pace": "lr_scale"}  # buffers of the encoder in 0.1


def migrate_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of options with the names of this version; values of a wrong type are left for validation.

    Example:
        >>> migrate_options({"train": {"pieces": 2}})
        {'train': {'accumulation_steps': 2}}
    """
    options = _renamed(options, SECTIONS)
    for section, names in OPTIONS.items():
        if isinstance(options.get(section), Mapping):
            options[section] = _renamed(options[section], names)
    if isinstance(options.get("stages"), list | tuple):
        options["stages"] = [_migrate_stage(stage) for stage in options["stages"]]
    return options


def migrate_assignment(path: str) -> str:
    """Return the dotted path of an option with the names of this version, e.g. ``train.pieces``.

    Example:
        >>> migrate_assignment("stages.0.updates.1.terms.contrast")
        'stages.0.updates.1.losses.nt_xent'
    """
    keys = path.split(".")
    keys[0] = SECTIONS.get(keys[0], keys[0])
    if len(keys) > 1:
        keys[1] = OPTIONS.get(keys[0], {}).get(keys[1], keys[1])
    for depth, names in ((2, STAGE), (4, UPDATE), (5, LOSSES)):
        if keys[0] == "stages" and len(keys) > depth:
            keys[depth] = names.get(keys[depth], keys[depth])
    return ".".join(keys)


def migrate_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's ``config.json`` in the format of this version."""
    if config.get("format", 1) != 1:
        return dict(config)
    migrated = migrate_options(config)
    for stage in migrated.get("stages", ()):
        if isinstance(stage, dict) and isinstance(stage.get("name"), str):
            stage["name"] = STAGE_NAMES.get(stage["name"], stage["name"])
    return {**migrated, "format": FORMAT}


def migrate_model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model folder's ``config.json`` in the format of this version."""
    if config.get("format", 1) != 1:
        return dict(config)
    # `trained_as` is a digest of a configuration of format 1, which no configuration of this version has.
    return {**migrate_options(config), "format": FORMAT, "trained_as": ""}


def migrate_model_tensors(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Return a model's tensors under this version's names, without those that only training needs."""
    return {
        _network_name(name): tensor
        for name, tensor in tensors.items()
        if name.removeprefix("encoder.") not in ENCODER_STATE or not name.startswith("encoder.")
    }


def migrate_checkpoint(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Return a checkpoint's tensors under this version's names."""
    if not any(name.startswith("average.") for name in tensors):
        return dict(tensors)
    migrated = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        if name.startswith("encoder.") and (buffer := ENCODER_STATE.get(name.removeprefix("encoder."))):
            if part == "networks":
                migrated[f"encoder_state.{buffer}"] = tensor
        else:
            migrated[f"{CHECKPOINT_PARTS.get(part, part)}.{_network_name(name)}"] = tensor
    return migrated


def migrate_statistics(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of ``stats.jsonl`` under this version's names."""
    migrated = {}
    for key, value in record.items():
        networks, slash, loss = key.partition("/")
        if slash and networks != "information":
            networks = "+".join(NETWORKS.get(name, name) for name in networks.split("+"))
            key = f"{networks}/{LOSSES.get(loss, loss)}"
        migrated[key] = STAGE_NAMES.get(value, value) if key == "stage" and isinstance(value, str) else value
    return migrated


def _migrate_stage(stage: Any) -> Any:
    if not isinstance(stage, Mapping):
        return stage
    stage = _renamed(stage, STAGE)
    if isinstance(stage.get("on_start"), list | tuple):
        stage["on_start"] = [HOOKS.get(hook, hook) if isinstance(hook, str) else hook for hook in stage["on_start"]]
    if isinstance(stage.get("updates"), list | tuple):
        stage["updates"] = [_migrate_update(update) for update in stage["updates"]]
    return stage


def _migrate_update(update: Any) -> Any:
    if not isinstance(update, Mapping):
        return update
    update = _renamed(update, UPDATE)
    if isinstance(update.get("networks"), list | tuple):
        update["networks"] = [
            NETWORKS.get(name, name) if isinstance(name, str) else name for name in update["networks"]
        ]
    if isinstance(update.get("losses"), Mapping):
        update["losses"] = _renamed(update["losses"], LOSSES)
    return update


def _network_name(tensor_name: str) -> str:
    network, dot, rest = tensor_name.partition(".")
    return f"{NETWORKS.get(network, network)}{dot}{rest}"


def _renamed(tree: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in tree.items()}

"""Migration of files of version 0.1: configurations, statistics and names of tensors.

Version 0.1 wrote no ``format`` (format 1); this version writes format 2. Every function returns a file of format 2
unchanged. `migrate_options` is also applied to what users write by hand, so that old option names keep working.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

FORMAT = 2
Value = TypeVar("Value")

_TABLES = tomllib.loads((Path(__file__).parent / "renames.toml").read_text(encoding="utf-8"))
SECTIONS: dict[str, str] = _TABLES["sections"]
OPTIONS: dict[str, dict[str, str]] = _TABLES["options"]
STAGE: dict[str, str] = _TABLES["stage"]
UPDATE: dict[str, str] = _TABLES["update"]
NETWORKS: dict[str, str] = _TABLES["networks"]
HOOKS: dict[str, str] = _TABLES["hooks"]
LOSSES: dict[str, str] = _TABLES["losses"]
STAGE_NAMES: dict[str, str] = _TABLES["stage_names"]
CHECKPOINT_PARTS: dict[str, str] = _TABLES["checkpoint_parts"]
ENCODER_STATE: dict[str, str] = _TABLES["encoder_state"]


def migrate_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of options with the names of this version; values of a wrong type are left for validation.

    Example:
        >>> migrate_options({"train": {"pieces": 2}})
        {'train': {'accumulation_steps': 2}}
    """
    migrated: dict[str, Any] = _renamed(options, SECTIONS)
    for section, names in OPTIONS.items():
        if section in migrated:
            migrated[section] = _renamed(migrated[section], names)
    if isinstance(migrated.get("stages"), list | tuple):
        migrated["stages"] = [_migrate_stage(stage) for stage in migrated["stages"]]
    return migrated


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
    stages = migrated.get("stages")
    for stage in stages if isinstance(stages, list) else ():
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
    if isinstance(stage.get("updates"), list | tuple):
        stage["updates"] = [_migrate_update(update) for update in stage["updates"]]
    return stage | {"on_start": _renamed(stage["on_start"], HOOKS)} if "on_start" in stage else stage


def _migrate_update(update: Any) -> Any:
    if not isinstance(update, Mapping):
        return update
    update = _renamed(update, UPDATE)
    return update | {
        key: _renamed(update[key], names)
        for key, names in (("networks", NETWORKS), ("losses", LOSSES))
        if key in update
    }


def _network_name(tensor_name: str) -> str:
    network, dot, rest = tensor_name.partition(".")
    return f"{NETWORKS.get(network, network)}{dot}{rest}"


def _renamed(names: Any, table: Mapping[str, str]) -> Any:
    """Return a mapping with other keys, or a list with other items; anything else is left for validation."""
    if isinstance(names, Mapping):
        return {table.get(key, key): value for key, value in names.items()}
    if isinstance(names, list | tuple):
        return [table.get(name, name) if isinstance(name, str) else name for name in names]
    return names

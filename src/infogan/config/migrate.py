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
OPTIONS: dict[str, dict[str, str]] = _TABLES["options"]
NETWORKS, LOSSES = OPTIONS["stages.#.updates.#.networks"], OPTIONS["stages.#.updates.#.losses"]
STAGE_NAMES: dict[str, str] = _TABLES["stage_names"]
CHECKPOINT_PARTS: dict[str, str] = _TABLES["checkpoint_parts"]
ENCODER_STATE: dict[str, str] = _TABLES["encoder_state"]


def migrate_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of options with the names of this version; values of a wrong type are left for validation.

    Example:
        >>> migrate_options({"train": {"pieces": 2}})
        {'train': {'accumulation_steps': 2}}
    """
    migrated: dict[str, Any] = _renamed(options, "")
    if isinstance(train := migrated.get("train"), Mapping):
        migrated["train"] = _migrate_train(train)
    return migrated


def _migrate_train(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section ``train`` with values of this version."""
    migrated = dict(train)
    if migrated.get("budget") == "auto":
        del migrated["budget"]
        migrated["default_length"] = True
    if migrated.get("sample_grid") == "sheet":
        migrated["sample_grid"] = "random"
    return migrated


def migrate_assignment(path: str) -> str:
    """Return the dotted path of an option with the names of this version, e.g. ``train.pieces``.

    Example:
        >>> migrate_assignment("stages.0.updates.1.terms.contrast")
        'stages.0.updates.1.losses.nt_xent'
    """
    names: list[str] = []
    parent = ""
    for key in path.split("."):
        names.append(OPTIONS.get(parent, {}).get(key, key))
        parent = _join(parent, "#" if key.isdigit() else names[-1])
    return ".".join(names)


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


def _network_name(tensor_name: str) -> str:
    network, dot, rest = tensor_name.partition(".")
    return f"{NETWORKS.get(network, network)}{dot}{rest}"


def _renamed(node: Any, path: str) -> Any:
    """Return a tree of options, which is at a path of the whole tree, with this version's keys and items of lists."""
    if not any(renamed_path.startswith(path) for renamed_path in OPTIONS):  # a tree can be nested beyond any limit
        return node
    names = OPTIONS.get(path, {})
    if isinstance(node, Mapping):
        renamed = {names.get(key, key): value for key, value in node.items()}
        return {key: _renamed(value, _join(path, key)) for key, value in renamed.items()}
    if isinstance(node, list | tuple):
        items = [names.get(item, item) if isinstance(item, str) else item for item in node]
        return [_renamed(item, _join(path, "#")) for item in items]
    return node


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)

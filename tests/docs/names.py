"""Whether the names that documentation pages mention exist: Python names, options, files and command lines."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer
from pydantic import BaseModel
from typer.core import TyperGroup, TyperOption
from typer.exceptions import TyperException

import infogan
from infogan.api import resolve
from infogan.api.sweep import variations
from infogan.cli import sweep, train
from infogan.cli.app import app
from infogan.config.schema import CategoricalCode, Config, ContinuousCode, Stage, Update
from infogan.training.losses import LOSSES
from infogan.utils.errors import UserError
from tests import ROOT

SOURCE = ROOT / "src" / "infogan"
PACKAGES = {path.stem for path in SOURCE.iterdir() if path.is_dir() or path.suffix == ".py"} - {"__init__", "__main__"}
FILE_TYPES = "csv gif html jsonl? keras lock md npy npz onnx parquet png pt2 py safetensors sh svg tgz toml txt zip"
FILE = re.compile(rf".*\.({'|'.join(FILE_TYPES.split())})")
FOLDERS = {"benchmarks", "docs", "examples", "src", "tests", *(path.name for path in SOURCE.iterdir() if path.is_dir())}
OBJECTS = {"model": infogan.InfoGAN, "estimator": infogan.InfoGANEstimator, "infogan": infogan}
PROGRAMS = {"git", "hf", "make", "npm", "pip", "pipx", "pytest", "python", "tensorboard", "torchrun", "wandb"}
OTHER_OPTIONS = {  # of Lightning, torchrun and benchmarks, in running text
    "--print_config",
    "--max-restarts",
    "--nnodes",
    "--rdzv-conf",
    "--only",
    "--published",
}
OTHER_NAMES = {  # of scikit-learn, its checks, PyTorch, results of benchmarks, and names that the code composes
    "GridSearchCV",
    "RendezvousTimeoutError",
    "category_number",
    "category_number_0",
    "category_probabilities",
    "category_probability",
    "check_clustering",
    "check_methods_subset_invariance",
    "fit_transform",
    "get_params",
    "parametrize_with_checks",
    "scored_by",
    "test_factors",
}


def dotted_names(code: str) -> list[str]:
    """Return the dotted names in a text in backticks."""
    names = re.findall(r"(?<![\w./\"'-])[A-Za-z_]\w*(?:\.\w+)+(?![\w/]|\.\w)", code)
    return [name for name in names if not FILE.fullmatch(name)]


def unknown_identifiers(code: str) -> list[str]:
    """Return a call, a name with underscores or a CamelCase name in backticks that occurs nowhere in the sources."""
    names = re.findall(r"^(?:[A-Za-z_]\w*(?=\()|[a-z]+(?:_[a-z0-9]+)+$|[A-Z][a-z]+[A-Z]\w*$)", code)
    return [name for name in names if name not in OTHER_NAMES and name not in _sources()]


@cache
def _sources() -> str:
    files = [
        path for root in (SOURCE, ROOT / "benchmarks") for path in root.rglob("*") if path.suffix in {".py", ".toml"}
    ]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.name != "migrate.py")


def name_problem(name: str) -> str | None:
    """Return what is wrong with a dotted name: an option, a name of infogan's modules, or one of something else."""
    first, _, rest = name.partition(".")
    if first in Config.model_fields and is_option(name):
        return None
    if first in OBJECTS:
        exists = _resolves(name) if first == "infogan" else _has(OBJECTS[first], rest.split("."))
        return None if exists else f"{name} does not exist"
    if first in PACKAGES:
        return None if _resolves(f"infogan.{name}") else f"{name} is neither an option nor a name in infogan.{first}"
    if first in ("benchmarks", "tests"):
        path = ROOT / name.replace(".", "/")
        return None if path.is_dir() or path.with_suffix(".py").is_file() else f"{name} is not a module"
    return f"the option {name} does not exist" if first in Config.model_fields else None


def is_option(path: str) -> bool:
    """Return whether an option with this dotted path exists, e.g. ``stages.0.updates.1.losses.nt_xent``."""
    first, *keys = path.split(".")
    lists: dict[str, list[type[BaseModel]]] = {"stages": [Stage], "codes": [CategoricalCode, ContinuousCode]}
    if first in lists:
        if keys and not keys[0].isdigit():
            return False
        models, keys = lists[first], keys[1:]
        if keys[:1] == ["updates"] and len(keys) > 1:
            if not keys[1].isdigit():
                return False
            models, keys = [Update], keys[2:]
        if keys[:1] == ["losses"] and models == [Update]:
            return len(keys) == 1 or (len(keys) == 2 and keys[1] in LOSSES)
        return not keys or (len(keys) == 1 and any(keys[0] in model.model_fields for model in models))
    if first not in Config.model_fields or not keys:
        return first in Config.model_fields
    section = Config.model_fields[first].annotation
    fields = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}
    return len(keys) == 1 and keys[0] in fields


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("infogan"):
                return True  # it needs a library that is not installed
            continue
        return _has(module, parts[length:])
    return False


def _has(holder: Any, names: list[str]) -> bool:
    for name in names:
        if not hasattr(holder, name):
            fields = {
                field for kind in getattr(holder, "__mro__", ()) for field in getattr(kind, "__annotations__", {})
            }
            return name in fields or f"        {name}: " in (getattr(holder, "__doc__", "") or "")
        holder = getattr(holder, name)
    return True


def missing_file(code: str) -> str | None:
    """Return a path in the repository, or in the package, that a text in backticks names and that does not exist."""
    is_path = re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", code) and "/" in code and "..." not in code
    if not is_path or code.partition("/")[0] not in FOLDERS:
        return None
    return None if (ROOT / code).exists() or (SOURCE / code).exists() else code


def missing_imports(source: str) -> list[str]:
    """Return the names that a block imports from infogan and that do not exist; lines with % are Jupyter's."""
    tree = ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("%")))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.partition(".")[0] == "infogan" and not _resolves(name)]


# Commands.


@cache
def commands() -> dict[str, Any]:
    """Return all commands by name; ``data list`` and the like by both words."""
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    all_commands: dict[str, Any] = {}
    for name, command in program.commands.items():
        if isinstance(command, TyperGroup):
            all_commands |= {f"{name} {member}": child for member, child in command.commands.items()}
        else:
            all_commands[name] = command
    return all_commands


def _options(command: Any, *, hidden: bool) -> set[str]:
    options = [parameter for parameter in command.params if isinstance(parameter, TyperOption)]
    return {name for option in options if option.hidden == hidden for name in [*option.opts, *option.secondary_opts]}


def option_problems(code: str) -> Iterator[str]:
    """Yield what is wrong with the options in a text in backticks: unknown ones, and old names."""
    words = code.split()
    if words and words[0] in PROGRAMS:
        return
    words = words[1:] if words[:1] == ["infogan"] else words
    name = next((name for name in (" ".join(words[:2]), words[0] if words else "") if name in commands()), None)
    candidates = [commands()[name]] if name else list(commands().values())
    if name == "sweep":
        candidates.append(commands()["train"])  # after --
    visible = set().union(*(_options(command, hidden=False) for command in candidates))
    visible |= {"--help", "-h", "--version", "--install-completion", "--show-completion"}
    hidden = set().union(*(_options(command, hidden=True) for command in candidates)) - visible
    for option in re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", code):
        if option in hidden:
            yield f"{option} is an old name"
        elif option not in visible | OTHER_OPTIONS:
            yield f"{option} is not an option of {name or 'infogan'}"


def command_problem(words: list[str]) -> str | None:
    """Return why a command line would be refused before it reads any file; options of `train` are checked, too."""
    name = next((name for name in (" ".join(words[:2]), words[0]) if name in commands()), None)
    if name is None:
        return f"{words[0]} is not a command"
    try:
        arguments = words[len(name.split()) :]
        context = commands()[name].make_context(f"infogan {name}", list(arguments))
        if name == "train" and not context.params["config"]:
            resolve.validate(train.parse_options(context.params))
        if name == "sweep":
            data, grid = context.params["data"], sweep.parse_grid(context.params["grid"] or ())
            for run in variations(data, [0], grid, context.args):
                sweep.check_arguments(run.arguments, data, 0)
    except (TyperException, UserError) as error:
        return str(error)
    return next(option_problems(f"infogan {shlex.join(words)}"), None)

"""The structure of the package: imports go down only, heavy imports wait, and files are data, never code."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import infogan
from tests import ROOT

SOURCE = ROOT / "src" / "infogan"
PACKAGES = [
    "utils",
    "config",
    "data",
    "features",
    "models",
    "training",
    "evaluation",
    "reports",
    "api",
    "explorer",
    "cli",
]
# Modules that keep a public name; each is a few lines. Everything else is in a package.
PUBLIC_NAMES = {
    "callbacks",
    "errors",
    "export",
    "metrics",
    "notebook",
    "recipes",
    "runs",
    "sweep",
    "trackers",
    "workflows",
}
# Models show themselves in notebooks and write their own card: imports upward within functions.
UPWARD_IN_FUNCTIONS = {"models/infogan.py", "models/results.py"}
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:work|root|home|Users|opt|mnt)/\w")
MODULES = sorted(SOURCE.rglob("*.py"))


def imported_packages(path: Path, *, in_functions: bool) -> set[str]:
    """Return the packages of infogan that a module imports from, at its top level or within functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    packages = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: use an absolute import"
        if (node in tree.body) == in_functions:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "infogan":
            packages |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("infogan."):
            packages.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("infogan.")}
    return packages & set(PACKAGES)


def test_package_has_these_entries() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(PACKAGES)
    assert {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"} == PUBLIC_NAMES
    assert all((SOURCE / f"{name}.py").read_text().count("\n") < 15 for name in PUBLIC_NAMES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    if len(relative.parts) == 1:
        return
    above = set(PACKAGES[PACKAGES.index(relative.parts[0]) + 1 :])
    assert not imported_packages(path, in_functions=False) & above
    if str(relative) not in UPWARD_IN_FUNCTIONS:
        assert not imported_packages(path, in_functions=True) & above


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_import_no_public_names_of_the_package(path: Path) -> None:
    if path.parent == SOURCE:
        return
    text = path.read_text(encoding="utf-8")
    assert not re.search(rf"^\s*from infogan\.({'|'.join(PUBLIC_NAMES)}) import", text, re.MULTILINE)


def loaded_modules(statement: str, candidates: tuple[str, ...]) -> list[str]:
    """Return which of some modules a fresh Python has loaded after a statement."""
    script = f"import sys; {statement}; print(' '.join(m for m in {candidates!r} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_help_is_shown_without_heavy_imports() -> None:
    assert loaded_modules("import infogan.cli", ("torch", "numpy", "scipy", "sklearn", "PIL", "pydantic")) == []


def test_commands_that_do_not_cluster_import_no_clustering() -> None:
    assert loaded_modules("import infogan.api.train_run", ("scipy.stats", "sklearn")) == []


def test_public_names_are_loaded_on_first_use() -> None:
    for name in set(infogan.__all__) - {"__version__"}:
        value = infogan.__getattr__(name)
        assert value.__name__.split(".")[-1] == name
    with pytest.raises(AttributeError, match="nothing"):
        infogan.__getattr__("nothing")
    assert PUBLIC_NAMES | {"data"} < set(infogan.__all__) <= set(dir(infogan))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("infogan.callbacks", "Callback"),
        ("infogan.data", "load"),
        ("infogan.data", "streamed"),
        ("infogan.errors", "UserError"),
        ("infogan.export", "export"),
        ("infogan.metrics.clustering", "accuracy"),
        ("infogan.metrics.clustering", "nmi"),
        ("infogan.metrics.disentanglement", "disentanglement"),
        ("infogan.metrics.intervals", "bootstrap"),
        ("infogan.notebook", "explore"),
        ("infogan.recipes", "resolve"),
        ("infogan.runs", "RunFolder"),
        ("infogan.sweep", "run_all"),
        ("infogan.trackers", "Tracker"),
        ("infogan.workflows", "train_run"),
    ],
)
def test_documented_imports_work(module: str, name: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from {module} import {name}", namespace)
    assert callable(namespace[name])


def test_metrics_are_one_module_under_both_names() -> None:
    from infogan.evaluation.metrics import clustering
    from infogan.metrics import clustering as public

    assert public is clustering


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_is_executed_or_unpickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} | {
                (getattr(node, "module", "") or "").split(".")[0]
            }
            # A sweep starts processes with joblib, and neither writes nor reads files with it.
            allowed = {"joblib"} if path == SOURCE / "api" / "sweep.py" else set()
            if path in (SOURCE / "__init__.py", SOURCE / "utils" / "errors.py"):
                allowed = {"importlib"}  # of public modules and extras, whose names are in the source
            if isinstance(node, ast.ImportFrom) and node.module == "importlib.metadata":
                allowed = {"importlib"}  # which returns versions, and imports nothing
            if ast.unparse(node) == "from importlib.util import find_spec":
                allowed = {"importlib"}  # which looks for packages, and imports none
            assert not names & {"pickle", "cloudpickle", "joblib", "dill", "importlib", "marshal", "shelve"} - allowed
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function == "torch.load" and "weights_only=True" in map(ast.unparse, node.keywords):
                continue  # tensors alone are read
            assert function not in ("eval", "exec", "__import__", "torch.load", "torch.save"), function
            if function in ("np.load", "numpy.load"):
                assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs the repository")
def test_no_tracked_file_contains_a_path_of_one_machine() -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hits = []
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        hits += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if MACHINE_PATH.search(line)]
    assert hits == []


@pytest.mark.parametrize("path", ["work/main", "root/x", "home/me/photos"])
def test_path_of_one_machine_is_recognised(path: str) -> None:
    assert MACHINE_PATH.search(f'open("/{path}")')
    assert not MACHINE_PATH.search(f"https://example.org/{path}")


@pytest.mark.skipif(not (ROOT / "CITATION.cff").exists(), reason="needs the repository")
def test_citation_names_this_version() -> None:
    assert f"version: {infogan.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8").replace('"', "")

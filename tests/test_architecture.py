"""How the house is built: imports go one way, heavy ones wait, nothing a file names is run."""

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

# A module may import only from those before it.
ORDER = [
    "errors",
    "files",
    "memory",
    "distributed",
    "config",
    "recipes",
    "data.factors",
    "data.imageset",
    "data.pixels",
    "data.stream",
    "data.remote",
    "data.shards",
    "data.listing",
    "data.tables",
    "data.pictures",
    "data.arrays",
    "data.fetching",
    "data.rendered",
    "data.dsprites",
    "data.shapes",
    "data.glyphs",
    "data.sources",
    "data.reading",
    "data.objects",
    "data",
    "data.batches",
    "data.labels",
    "chances",
    "augment",
    "objectives",
    "codes",
    "norms",
    "architectures",
    "networks",
    "terms",
    "metrics",
    "metrics.clustering",
    "metrics.fidelity",
    "metrics.inception",
    "metrics.neighbours",
    "metrics.information",
    "metrics.disentanglement",
    "metrics.intervals",
    "partition",
    "beginnings",
    "determinism",
    "runs",
    "plots",
    "pages",
    "meanings",
    "modelfolder",
    "hub",
    "card",
    "model",
    "training",
    "budget",
    "categories",
    "filing",
    "sheets",
    "verdict",
    "evaluation",
    "selection",
    "report",
    "comparison",
    "export.graphs",
    "export.onnx",
    "export.program",
    "export.keras",
    "export.runtime",
    "export.site",
    "export",
    "notebook",
    "trackers",
    "workflows",
    "fitting",
    "estimator",
    "sweep",
    "console",
    "explorer",
    "explorer.views",
    "explorer.neighbours",
    "explorer.collection",
    "explorer.saved",
    "explorer.desk",
    "explorer.decoding",
    "explorer.uploads",
    "explorer.evidence",
    "explorer.guard",
    "explorer.patience",
    "explorer.server",
    "cli",
]
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:work|root|home|Users|opt|mnt)/\w")  # someone's, or one machine's
EXEMPT = ("__init__", "__main__")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return {name: path for name, path in found.items() if name not in EXEMPT}


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: name the module in full, not from the dot"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "infogan":
            base = node.module.removeprefix("infogan").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".strip(".")
                found.add(full if full in ORDER else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("infogan.") for alias in node.names if alias.name.startswith("infogan.")}
    return found - {""}


def test_every_module_has_a_place() -> None:
    assert sorted(modules()) == sorted(ORDER), "add a new module to ORDER, where its imports allow"


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way(name: str) -> None:
    allowed = set(ORDER[: ORDER.index(name)])
    assert imports_of(modules()[name]) <= allowed


def test_the_command_line_answers_without_heavy_imports() -> None:
    script = (
        "import sys, infogan.cli; "
        "print([m for m in ('torch', 'numpy', 'scipy', 'sklearn', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_package_names_is_loaded_when_it_is_asked_for() -> None:
    for name in set(infogan.__all__) - {"__version__"}:
        assert infogan.__getattr__(name).__name__ in (name, f"infogan.{name}")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        infogan.__getattr__("nothing")


def test_commands_that_cluster_nothing_do_not_wait_for_what_clusters() -> None:
    script = "import sys, infogan.workflows; print([m for m in ('scipy.stats', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_that_a_file_names_is_run(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} | {
                (getattr(node, "module", "") or "").split(".")[0]
            }
            # A sweep starts processes with joblib, and neither writes nor reads anything with it.
            harmless = {"joblib"} if path.stem == "sweep" else set()
            if isinstance(node, ast.ImportFrom) and node.module == "importlib.metadata":
                harmless = {"importlib"}  # which tells versions, and imports nothing
            assert not names & {"pickle", "cloudpickle", "joblib", "dill", "importlib", "marshal", "shelve"} - harmless
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "__import__", "torch.load", "torch.save"), called
            if called in ("np.load", "numpy.load"):
                assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs the repository")
def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        found += [f"{name}:{number}: {line}" for number, line in enumerate(lines, 1) if MACHINE_PATH.search(line)]
    assert found == []


@pytest.mark.parametrize("path", ["work/main", "root/x", "home/me/photos"])
def test_a_path_of_one_machine_is_recognised(path: str) -> None:
    assert MACHINE_PATH.search(f'open("/{path}")')
    assert not MACHINE_PATH.search(f"https://example.org/{path}")

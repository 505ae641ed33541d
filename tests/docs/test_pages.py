"""Documentation pages: their links, the names and command lines in them, and their Python blocks."""

import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from infogan.api.resolve import compose, validate
from tests import ROOT
from tests.blocks import code_blocks, short_training
from tests.docs.names import (
    command_problem,
    dotted_names,
    is_option,
    missing_file,
    missing_imports,
    name_problem,
    option_problems,
    unknown_identifiers,
)
from tests.docs.pages import PAGES, Page

OLD_NAMES = {"CHANGELOG.md"}  # pages that list the names of earlier versions
NEEDS_LIBRARIES = {  # pages whose blocks run in an integration test, by that test's file
    "docs/hub.md": "tests/models/test_hub.py",
    "docs/keras.md": "tests/models/export/test_keras.py",
}
pages = pytest.mark.parametrize("page", [Page.read(name) for name in PAGES], ids=list(PAGES))


@pages
def test_links_lead_to_existing_files_and_headings(page: Page) -> None:
    assert not page.broken_links


@pages
def test_mentions_of_other_pages_are_links(page: Page) -> None:
    assert not page.unlinked_mentions


@pages
def test_names_in_backticks_exist(page: Page) -> None:
    if page.name in OLD_NAMES:
        return
    problems = [problem for code in page.code for name in dotted_names(code) if (problem := name_problem(name))]
    problems += [f"{path} does not exist" for code in page.code if (path := missing_file(code))]
    problems += [f"{name} is unknown" for code in page.code for name in unknown_identifiers(code)]
    problems += [problem for code in page.code for problem in option_problems(code)]
    assert not problems


@pages
def test_command_lines_are_accepted(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [words for block in page.blocks for words in block.commands()]
    problems = {" ".join(words): problem for words in lines if (problem := command_problem(words))}
    assert not problems


@pages
def test_toml_blocks_are_configurations(page: Page) -> None:
    for block in page.blocks:
        if block.language == "toml":
            validate(compose("plain", [tomllib.loads(block.text)]))


@pages
def test_blocks_that_do_not_run_import_existing_names(page: Page) -> None:
    for block in page.blocks:
        if block.language == "python" and (block.reason or page.name in NEEDS_LIBRARIES):
            assert not missing_imports(block.text)


def test_blocks_that_need_libraries_run_in_other_tests() -> None:
    for name, test in NEEDS_LIBRARIES.items():
        assert Path(name).name in (ROOT / test).read_text(encoding="utf-8")


RUNNABLE = [
    name
    for name in PAGES
    if name not in NEEDS_LIBRARIES
    and any(block.language == "python" and not block.reason for block in Page.read(name).blocks)
]


@pytest.fixture
def folder(digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a small run under the names that pages use; trainings in it are short."""
    for name in ("00000-digits", "00000-mnist"):
        shutil.copytree(digits_run, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    with short_training():
        yield tmp_path


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # PyTorch 2.9 loads programs so
@pytest.mark.parametrize("name", RUNNABLE)
def test_python_blocks_run(name: str, folder: Path) -> None:
    namespace: dict[str, object] = {"__name__": "page"}
    for block in Page.read(name).blocks:
        if block.language == "python" and not block.reason:
            exec(compile(block.text, name, "exec"), namespace)
    assert os.listdir(folder)


def test_the_checks_of_links_can_fail() -> None:
    text = "# A title: `x`\n\n[a](#a-title-x) [b](#b) [c](guide.md#data) [d](guide.md#date) ![e](images/e.png) keras.md"
    page = Page("docs/page.md", f"{text}\n\n    infogan info RUN  # see hub.md\n")
    assert page.broken_links == ["#b", "guide.md#date", "images/e.png"]
    assert page.unlinked_mentions == ["keras.md", "hub.md"]


def test_blocks_and_their_commands_are_recognised() -> None:
    text = (
        "Text\n\n    infogan info RUN  # comment\n\n    python -m infogan info \\\n        RUN2\n\n"
        "<!-- not runnable: a reason -->\n```python\nimport x\n```\n```sh\nssh HOST infogan data list\n"
        "python - <<'END'\nfrom infogan import InfoGAN\nEND\n```\n"
    )
    indented, python, shell = code_blocks(text)
    assert indented.commands() == [["info", "RUN"], ["info", "RUN2"]]
    assert (python.language, python.reason, python.commands()) == ("python", "a reason", [])
    assert shell.commands() == [["data", "list"]]
    assert text[shell.start : shell.end].startswith("```sh")


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("training.losses.representation.nt_xent", True),
        ("training.losses.representation.contrast", False),
        ("infogan.data.load", True),
        ("infogan.data.lod", False),
        ("api.resolve", True),
        ("train.batch_size", True),
        ("train.pieces", False),
        ("data.size", True),
        ("model.encode", True),
        ("model.read", False),
        ("np.random", True),
    ],
)
def test_the_check_of_names_can_fail(name: str, exists: bool) -> None:
    assert dotted_names(f"{name}(x)") == [name]
    assert (name_problem(name) is None) == exists


@pytest.mark.parametrize(
    ("code", "unknown"),
    [
        ("nt_xent", []),
        ("make_trackers([])", []),
        ("make_tracker_list([])", ["make_tracker_list"]),
        ("ModelCards", ["ModelCards"]),
        ("on_report", ["on_report"]),
    ],
)
def test_the_check_of_identifiers_can_fail(code: str, unknown: list[str]) -> None:
    assert unknown_identifiers(code) == unknown


@pytest.mark.parametrize(
    ("words", "accepted"),
    [
        ("train mnist --budget 5m", True),
        ("train mnist --budgets 5m", False),
        ("train mnist --preset paper", False),
        ("train mnist --set train.batch_sizes=3", False),
        ("train mnist --seed x", False),
        ("data list", True),
        ("tune mnist", False),
        ("sweep mnist -- --recipe nothing", False),
    ],
)
def test_the_check_of_command_lines_can_fail(words: str, accepted: bool) -> None:
    assert (command_problem(words.split()) is None) == accepted


@pytest.mark.parametrize(
    ("path", "exists"),
    [
        ("stages.0.updates.1.losses.nt_xent", True),
        ("stages.0.updates.1.losses.contrast", False),
        ("codes.0.prior", True),
        ("codes.0.priors", False),
        ("augment.flip", True),
        ("augment.mirror", False),
    ],
)
def test_the_check_of_options_can_fail(path: str, exists: bool) -> None:
    assert is_option(path) == exists

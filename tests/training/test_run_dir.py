"""The run folder: whatever crashes, disks and other people do to it, nothing is taken for what it is not."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.files import append_line, file_lock
from tests.helpers import small_config


def incidents(run: RunFolder) -> list[str]:
    return [incident["what"] for incident in run.read_incidents()]


def write_sessions(run: RunFolder, sessions: Iterable[dict[str, Any]]) -> None:
    (run.path / "environment.json").write_text(json.dumps(list(sessions)))


# Creating and opening.


def test_numbered_runs_count_up(tmp_path: Path) -> None:
    parent = tmp_path / "runs"
    assert RunFolder.numbered(parent, "MNIST & more!").path == parent / "00000-mnist-more"
    (parent / "00007-other").mkdir()
    (parent / "notes.txt").touch()
    assert RunFolder.numbered(parent, "\u00e9").path == parent / "00008-run"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot create a run folder"):
        RunFolder.numbered(tmp_path / "file", "x")


def test_run_is_not_created_in_place_of_something_else(tmp_path: Path) -> None:
    assert RunFolder.at(tmp_path / "new" / "run").path.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file has that name"):
        RunFolder.at(tmp_path / "file")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").touch()
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder.at(tmp_path / "photos")


def test_existing_run_has_a_configuration_and_sessions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder.existing(tmp_path)
    RunFolder.at(tmp_path).begin(small_config(), "a")
    assert RunFolder.existing(tmp_path).read_config() == small_config()


def test_run_that_was_killed_at_its_start_can_be_started_again(tmp_path: Path) -> None:
    (tmp_path / "writer.json").write_text("")
    old, new = tmp_path / ".config.json.ab_d3f9x.json", tmp_path / ".config.json.zzzzzzzz.json"
    for path in (old, new):
        path.write_text('{"half":')
    os.utime(old, (0, 0))
    run = RunFolder.at(tmp_path)
    foreign = tmp_path / ".gitignore"
    foreign.write_text("*")
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    # A recent temporary file may still be in use, and other files are not ours.
    assert [path.exists() for path in (old, new, foreign)] == [False, True, True]


# Sessions.


def test_same_configuration_resumes_and_another_is_refused(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    run.begin(small_config("train.accumulation_steps=2", "evaluation.samples=700"), "a")  # not part of what a run is
    with pytest.raises(UserError, match=r"train\.seed was 0, now 1"):
        run.begin(small_config("train.seed=1"), "a")
    with pytest.raises(UserError, match=r"codes was|codes\.0"):
        run.begin(small_config(codes=[{"kind": "categorical", "size": 3}]), "a")
    assert len(run.read_environment()) == 2


def test_options_that_are_new_since_the_run_began_have_their_defaults(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    options = json.loads(run.config.read_text())
    del options["train"]["deterministic"], options["networks"]["pair_classifier"]
    run.config.write_text(json.dumps(options))
    run.begin(small_config(), "a")
    with pytest.raises(UserError, match=r"train\.deterministic was false, now true"):
        run.begin(small_config("train.deterministic=true"), "a")


def test_other_images_are_refused_and_an_incident(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    run.end("finished")
    with pytest.raises(UserError, match="images of 'bars' are not those"):
        run.begin(small_config(), "b")
    (sentence,) = incidents(run)
    assert "images of 'bars' are not those" in sentence


def test_session_without_a_recorded_end_is_an_incident(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    run.end("finished")
    run.begin(small_config(), "a")  # and is killed
    assert incidents(run) == []
    run.begin(small_config(), "a")
    (sentence,) = incidents(run)
    assert run.read_environment()[1]["started"] in sentence
    assert "ended without a record" in sentence
    assert sentence in (tmp_path / "log.txt").read_text()
    assert [session["ended"] for session in run.read_environment()] == ["finished", None, None]


def test_clock_that_was_set_back_is_an_incident(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    run.end("finished")
    (session,) = run.read_environment()
    for started, count in (("2999-01-01T00:00:00+0000", 1), ("no time", 0), (None, 0), ("2020-01-01T00:00:00", 0)):
        write_sessions(run, [{**session, "started": started}])
        run.incidents.unlink(missing_ok=True)
        run.begin(small_config(), "a")
        assert len(incidents(run)) == count, started
        assert all("the clock was set back" in sentence for sentence in incidents(run))


def test_sessions_record_what_they_ran_on(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config("train.accumulation_steps=3"), "a digest")
    (session,) = run.read_environment()
    for name in ("infogan", "python", "torch", "numpy", "scipy", "scikit-learn", "platform", "same_again"):
        assert isinstance(session[name], str), name
    expected = {"ended": None, "data_digest": "a digest", "workers": 1, "accumulation_steps": 3, "command": sys.argv}
    assert {name: session[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("recorded", "command"),
    [
        (["/usr/bin/infogan", "train", "x"], ["infogan", "train", "x"]),
        (["/lib/infogan/__main__.py", "train", "x"], ["infogan", "train", "x"]),
        (["notebook.py", "train"], []),
        ([], []),
        (None, []),
    ],
)
def test_command_is_known_only_if_infogan_was_called(tmp_path: Path, recorded: Any, command: list[str]) -> None:
    run = RunFolder.at(tmp_path)
    assert run.command() == []
    write_sessions(run, [{"command": ["infogan", "earlier"]}, {"command": recorded}])
    assert run.command() == command


# Files that are damaged or strange.


def test_torn_line_of_statistics_costs_that_line_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.add_stats({"step": 1})
    first = run.stats.read_bytes()
    run.add_stats({"step": 2})
    run.stats.write_bytes(run.stats.read_bytes()[:-4])
    run.add_stats({"step": 3})
    assert [record["step"] for record in run.read_stats()] == [1, 3]
    assert run.stats.read_bytes().startswith(first)


def test_statistics_are_rewound(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.rewind_stats(3)
    assert not run.stats.exists()
    for step in range(1, 5):
        run.add_stats({"step": step, "stage": "gan", "a/b": step / 2})
    run.rewind_stats(2)
    assert run.read_stats() == [{"step": 1, "stage": "gan", "a/b": 0.5}, {"step": 2, "stage": "gan", "a/b": 1.0}]


def test_strange_lines_of_statistics_are_skipped(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    lines = ["5", "{}", '{"step": "x"}', f'{{"step": {"9" * 400}}}', "[" * 100_000, "null"]
    run.stats.write_text("\n".join([*lines, '{"step": 3, "a/b": "x", "c/d": 1.5}']))
    assert run.read_stats() == [{"step": 3, "c/d": 1.5}]
    run.rewind_stats(3)
    assert run.read_stats() == [{"step": 3, "c/d": 1.5}]


def test_statistics_of_version_0_1_are_read_under_the_names_of_today(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.add_stats({"step": 1, "stage": "features", "encoder/contrast": 2.0, "information/contrast": 1.0})
    assert run.read_stats() == [{"step": 1, "stage": "pretrain", "encoder/nt_xent": 2.0, "information/contrast": 1.0}]


@pytest.mark.parametrize("content", ["{}", "[1]", "[" * 100_000, "not JSON"])
def test_damaged_sessions_are_refused(tmp_path: Path, content: str) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(UserError, match=r"environment\.json is damaged"):
        run.begin(small_config(), "a")


NESTED = '{"data": ' + "[" * 900 + "]" * 900 + "}"


@pytest.mark.parametrize("content", ["{}", "[1]", "[" * 100_000, NESTED, "not JSON", '{"format": 99}'])
def test_damaged_configuration_is_refused(tmp_path: Path, content: str) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    run.config.write_text(content)
    with pytest.raises(UserError, match=r"config\.json is"):
        run.read_config()
    run.config.unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        run.read_config()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_in_place_of_files_are_refused(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    (tmp_path / "environment.json").unlink()
    os.mkfifo(tmp_path / "environment.json")
    with pytest.raises(UserError, match="it is not a file"):
        run.begin(small_config(), "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["writer.json", "log.txt", "stats.jsonl", "incidents.jsonl"])
def test_links_in_place_of_files_are_not_followed(tmp_path: Path, name: str) -> None:
    run = RunFolder.at(tmp_path / "run")
    outside = tmp_path / "outside"
    outside.write_text("precious")

    def write() -> None:
        if name == "writer.json":
            with run.lock():
                pytest.fail("it was locked")
        elif name == "log.txt":
            run.log("line")
        elif name == "stats.jsonl":
            run.add_stats({"step": 1})
        else:
            append_line(run.incidents, "line")

    (run.path / name).symlink_to(outside)
    with pytest.raises(UserError, match=f"cannot write .*{name}"):
        write()
    assert outside.read_text() == "precious"
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    with pytest.raises(UserError, match=f"cannot write .*{name}"):
        write()


def test_strange_evaluations_are_skipped(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    valid: dict[str, Any] = {
        "step": 3,
        "accuracy": 0.5,
        "information": {"category": 1},
        "entropy": {"category": 2.3},
        "intervals": {"accuracy": [0.25, 0.75]},
        "verdict": {"trust": False, "reason": "no", "kinds": None, "merged": [1], "split": [[2, 3]]},
        "protocols": {},
    }
    run.add_metrics(valid | {"of a later version": "x", "long": 10**400})
    strange: list[dict[str, Any]] = [
        *({"verdict": verdict} for verdict in (None, {}, {"trust": 1, "reason": "x"}, {"trust": True, "reason": 0})),
        {"verdict": {"trust": True, "reason": "x", "sureness": "much"}},
        *({"intervals": {"accuracy": ends}} for ends in (None, [0.5], [0, 1, 2], ["a", "b"])),
        {"entropy": {}},
        {"information": {"category": 10**400}},
        {"disentanglement": {"mig": None}},
        *({name: {"x": 1}} for name in ("ignored", "protocol", "protocols", "left_out")),
    ]
    for change in strange:
        run.add_metrics(valid | change)
    append_line(run.metrics, "[]")
    assert run.read_metrics() == [valid]


def test_lock_of_a_run_excludes_other_writers(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    with run.lock():
        assert json.loads((tmp_path / "writer.json").read_text())["pid"] == os.getpid()
        with pytest.raises(UserError, match=f"{tmp_path} is being written by process {os.getpid()}"):  # noqa: SIM117
            with file_lock(tmp_path / "writer.json", str(tmp_path)):
                pytest.fail("it was locked twice")
    with run.lock():
        pass

"""The run folder under damage: whatever crashes, disks and others do, nothing is taken for what it is not."""

import html
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infogan.api.resolve import Plan
from infogan.api.train_run import plan, train_run
from infogan.data import load
from infogan.training.callbacks import Interrupted
from infogan.training.checkpoint import Checkpoint, latest_checkpoint_path, load_latest_checkpoint, save_checkpoint
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.files import append_line, file_lock, is_locked, remove_temporary_files
from tests.helpers import Hooks, bar_images, capture_networks, image_set, small_config


def checkpoint(step: int) -> Checkpoint:
    tensors = {"networks.weight": torch.arange(12.0).reshape(3, 4) + step, "networks.count": torch.tensor(step)}
    return Checkpoint(step, step / 3, tensors)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two checkpoints, after 1 and 2 steps."""
    run = RunFolder(tmp_path)
    save_checkpoint(run.checkpoints, checkpoint(1))
    save_checkpoint(run.checkpoints, checkpoint(2))
    return run


def same(found: Checkpoint | None, expected: Checkpoint) -> bool:
    assert found is not None
    assert found.tensors.keys() == expected.tensors.keys()
    equal = all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())
    return equal and (found.step, found.seconds) == (expected.step, expected.seconds)


def newest(run: RunFolder) -> Path:
    path = latest_checkpoint_path(run.checkpoints)
    assert path is not None
    return path


def test_a_checkpoint_comes_back_as_it_was(run: RunFolder) -> None:
    found, complaints = load_latest_checkpoint(run.checkpoints)
    assert same(found, checkpoint(2))
    assert complaints == []
    # Names that look like a checksum's place change nothing.
    odd = Checkpoint(3, 0.0, {"0" * 64: torch.ones(2), "sha256": torch.zeros(1)})
    save_checkpoint(run.checkpoints, odd)
    assert same(load_latest_checkpoint(run.checkpoints)[0], odd)


def test_every_byte_counts(run: RunFolder) -> None:
    path, content = newest(run), newest(run).read_bytes()
    random = np.random.default_rng(0)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        found, complaints = load_latest_checkpoint(run.checkpoints)
        assert same(found, checkpoint(1)), place
        assert len(complaints) == 1
        assert "\n" not in complaints[0]


def test_lengths_count(run: RunFolder) -> None:
    path, content = newest(run), newest(run).read_bytes()
    lengths = [content[:cut] for cut in range(0, len(content), 7)] + [content + b"\0", content * 2]
    for damaged in [*lengths, b"\0" * len(content), content[::-1]]:
        path.write_bytes(damaged)
        assert same(load_latest_checkpoint(run.checkpoints)[0], checkpoint(1))


def test_what_is_not_read_as_it_was_written_costs_no_checkpoint(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def failing_disk(self: Path, content: bytes) -> int:
        return write(self, content[:-1] + bytes([content[-1] ^ 1]))

    monkeypatch.setattr(Path, "write_bytes", failing_disk)
    with pytest.raises(UserError, match="is the disk failing"):
        save_checkpoint(run.checkpoints, checkpoint(3))
    monkeypatch.undo()
    assert sorted(path.name[7] for path in run.checkpoints.iterdir()) == ["1", "2", "3"]
    assert same(load_latest_checkpoint(run.checkpoints)[0], checkpoint(2))


def test_half_a_line_costs_that_line_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.add_stats({"step": 1})
    whole = run.stats.read_bytes()
    run.add_stats({"step": 2})
    run.stats.write_bytes(run.stats.read_bytes()[:-4])  # torn in its middle
    run.add_stats({"step": 3})
    assert [line["step"] for line in run.read_stats()] == [1, 3]
    assert run.stats.read_bytes().startswith(whole)
    append_line(tmp_path / "new.txt", "first")
    append_line(tmp_path / "new.txt", "second")
    assert (tmp_path / "new.txt").read_text() == "first\nsecond\n"
    with pytest.raises(UserError, match="cannot write"):
        append_line(tmp_path, "a folder")


# One writer.

HOLD = """
import sys, time
from pathlib import Path
from infogan.files import held
with held(Path(sys.argv[1]), "the run"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds ``writer.json``."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "writer.json")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_run_has_one_writer_that_is_named(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    path = tmp_path / "writer.json"
    assert is_locked(path)
    known = json.loads(path.read_text())
    assert known["pid"] == holder.pid
    named = f"the run is being written by process {holder.pid} on {known['host']}, since"
    with pytest.raises(UserError, match=named), file_lock(path, "the run"):
        pytest.fail("it was held twice")
    with pytest.raises(UserError, match="is being written by process"):
        train_run(Plan(small_config(), image_set()), RunFolder.at(tmp_path))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["writer.json"]  # nothing was written
    # However the holder ends, its hold ends.
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_locked(path)
    with file_lock(path, "the run"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not is_locked(path)


def test_an_error_within_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), file_lock(tmp_path / "writer.json", "the run"):
        (tmp_path / "not-there").read_bytes()
    with pytest.raises(UserError, match="cannot write"), file_lock(tmp_path / "no-folder" / "writer.json", "the run"):
        pytest.fail("it was held")
    (tmp_path / "writer.json").write_text("torn {")
    with file_lock(tmp_path / "writer.json", "the run"):
        pass


# What kills leave behind.


def test_a_run_that_was_killed_at_its_beginning_can_be_begun(tmp_path: Path) -> None:
    (tmp_path / "writer.json").write_text("")
    old, new = tmp_path / ".config.json.ab_d3f9x.json", tmp_path / ".config.json.zzzzzzzz.json"
    for path in (old, new):
        path.write_text('{"half":')
    os.utime(old, (time.time() - 3600,) * 2)
    kept = tmp_path / ".gitignore"
    run = RunFolder.at(tmp_path)
    kept.write_text("*")
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder.at(tmp_path)
    train_run(Plan(small_config("train.steps=2", "data.source=digits"), load("digits")), run)
    # What may still be in the making is left alone, and so is what is not ours.
    assert [path.exists() for path in (old, new, kept)] == [False, True, True]
    remove_temporary_files(tmp_path / "nothing-there")


def test_a_kill_between_checkpoint_and_model_is_mended(tmp_path: Path) -> None:
    planned, run = Plan(small_config("train.steps=4", "data.source=digits"), load("digits")), RunFolder.at(tmp_path)
    train_run(planned, run)
    whole = (run.model / "model.safetensors").read_bytes()
    shutil.rmtree(run.model)
    train_run(planned, run)
    assert (run.model / "model.safetensors").read_bytes() == whole


# Incidents.


def said(run: RunFolder) -> list[str]:
    return [incident["what"] for incident in run.read_incidents()]


def test_how_a_session_ended_is_kept_and_one_that_did_not_say_is_an_incident(tmp_path: Path) -> None:
    run, config = RunFolder.at(tmp_path), small_config()
    run.begin(config, "a")
    run.end("finished")
    run.begin(config, "a")  # and then it is killed
    assert said(run) == []
    run.begin(config, "a")
    started = run.read_environment()[1]["started"]
    why = "it was killed, the machine stopped, or nothing could be written"
    assert said(run) == [f"the session begun {started} ended without a word: {why}"]
    assert [session["ended"] for session in run.read_environment()] == ["finished", None, None]
    assert said(run)[0] in (tmp_path / "log.txt").read_text()


def test_a_clock_that_was_set_back_is_an_incident_and_no_more(tmp_path: Path) -> None:
    run, config = RunFolder.at(tmp_path), small_config()
    run.begin(config, "a")
    run.end("finished")
    (session,) = run.read_environment()
    for started, strange in (("2999-01-01T00:00:00+0000", 1), ("no time", 0), (None, 0), ("2020-01-01T00:00:00", 0)):
        (tmp_path / "environment.json").write_text(json.dumps([{**session, "started": started}]))
        run.incidents.unlink(missing_ok=True)
        run.begin(config, "a")
        assert len(said(run)) == strange, started
        assert all("the clock was set back" in sentence for sentence in said(run))


@pytest.fixture
def folder_plan(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder of bars as files, and the options of a run on it."""
    source = tmp_path / "bars"
    source.mkdir()
    for number, image in enumerate(bar_images(32)):
        Image.fromarray(image[0]).save(source / f"{number}.png")
    options = small_config("train.steps=4").model_dump(mode="json")
    return source, {**options, "data": {"source": str(source)}}


def test_images_that_were_changed_or_removed_are_incidents(
    tmp_path: Path, folder_plan: tuple[Path, dict[str, Any]]
) -> None:
    source, options = folder_plan
    run = RunFolder.at(tmp_path / "run")
    train_run(plan(options), run)
    ended = newest(run).read_bytes()
    kept = (source / "3.png").read_bytes()
    Image.fromarray(bar_images(1)[0, 0]).save(source / "3.png")
    with pytest.raises(UserError, match="are not those that"):
        train_run(plan(options, run=run.path), run)
    source.rename(tmp_path / "away")
    with pytest.raises(UserError, match="no file or folder"):
        plan(options, run=run.path)
    with pytest.raises(UserError, match="no file or folder"):  # which is no business of this run
        plan({**options, "data": {"source": "elsewhere"}}, run=run.path)
    assert ["are not those" in said(run)[0], "no file or folder" in said(run)[1], len(said(run))] == [True, True, 2]
    # And when they are as they were, the run goes on.
    (tmp_path / "away").rename(source)
    (source / "3.png").write_bytes(kept)
    train_run(plan(options, run=run.path), run)
    assert newest(run).read_bytes() == ended
    assert len(said(run)) == 2
    page = run.report.read_text()
    assert "Incidents" in page
    assert html.escape("are not those that") in page


def test_what_ends_a_session_is_kept(tmp_path: Path) -> None:
    planned, run = Plan(small_config("data.source=digits"), load("digits")), RunFolder.at(tmp_path)

    def asked(step: int, what: BaseException) -> None:
        if step == 3:
            raise what

    ends: list[BaseException] = [UserError("the disk is full"), MemoryError(), KeyError("x"), SystemExit(143)]
    for what in ends:
        raised = UserError if isinstance(what, MemoryError) else type(what)
        with pytest.raises(raised):
            train_run(planned, run, callbacks=[Hooks(on_step=lambda step, what=what: asked(step, what))])  # type: ignore[misc]
    with pytest.raises(Interrupted):
        train_run(planned, run, callbacks=[Hooks(stop=lambda: True)])
    train_run(planned, run)
    ended = [session["ended"] for session in run.read_environment()]
    assert ended[0] == "the disk is full"
    assert ended[1].startswith("there is not enough memory")
    assert ended[2:] == ["ended by KeyError: 'x'", "ended by SystemExit: 143", "interrupted after step 3", "finished"]
    assert said(run) == ended[:4]
    assert "Incidents" in run.report.read_text()


def test_a_run_without_incidents_says_nothing_of_them(digits_run: Path) -> None:
    assert RunFolder(digits_run).read_incidents() == []
    assert "Incidents" not in (digits_run / "report.html").read_text()


def test_a_damaged_checkpoint_is_put_aside_and_crowds_no_whole_one_out(run: RunFolder) -> None:
    newest(run).write_bytes(b"damaged")
    assert same(load_latest_checkpoint(run.checkpoints)[0], checkpoint(1))
    assert load_latest_checkpoint(run.checkpoints)[1] == []  # told once
    assert newest(run).name == "00000001.safetensors"
    save_checkpoint(run.checkpoints, checkpoint(2))
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        "00000001.safetensors", "00000002.damaged", "00000002.safetensors"
    ]  # fmt: skip


def test_options_that_are_new_do_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    run, config = RunFolder.at(tmp_path), small_config()
    run.begin(config, "a")
    known = json.loads(run.config.read_text())
    del known["train"]["deterministic"], known["networks"]["comparer"]
    run.config.write_text(json.dumps(known))
    run.begin(config, "a")
    with pytest.raises(UserError, match=r"train\.deterministic was false, now true"):
        run.begin(small_config("train.deterministic=true"), "a")


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    planned, run = Plan(small_config("data.source=digits"), load("digits")), RunFolder.at(tmp_path)

    def overflow(step: int) -> None:
        if step == 3:  # between the losses of a step and the saving of the next nothing else would notice
            next(seen[0].generator.parameters()).register_hook(lambda gradient: gradient * torch.inf)

    said = r"stopped being finite by step 4: the last good .*00000002"
    with capture_networks() as seen, pytest.raises(UserError, match=said):
        train_run(planned, run, callbacks=[Hooks(on_step=overflow)])
    assert all(tensor.isfinite().all() for tensor in load_latest_checkpoint(run.checkpoints)[0].tensors.values())  # type: ignore[union-attr]
    train_run(planned, run)


def test_a_checkpoint_of_something_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    planned, run = Plan(small_config("data.source=digits"), load("digits")), RunFolder.at(tmp_path)
    train_run(planned, run)
    save_checkpoint(run.checkpoints, checkpoint(7))
    with pytest.raises(UserError, match=r"^the checkpoint after 7 steps is none of this run: "):
        train_run(planned, run)


# Folders from strangers.


@pytest.mark.parametrize("name", ["writer.json", "log.txt", "stats.jsonl", "incidents.jsonl"])
def test_links_in_the_place_of_files_are_not_written_through(tmp_path: Path, name: str) -> None:
    planned, run = (
        Plan(small_config("train.steps=2", "data.source=digits"), load("digits")),
        RunFolder.at(tmp_path / "run"),
    )
    train_run(planned, run)
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(outside)
    with pytest.raises(UserError, match="cannot write"), file_lock(run.path / "writer.json", "it"):
        append_line(run.path / name, "line")
    assert outside.read_text() == "precious"
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    with pytest.raises(UserError, match="cannot write"), file_lock(run.path / "writer.json", "it"):
        append_line(run.path / name, "line")


def test_strange_evaluations_are_left_out(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    whole: dict[str, Any] = {
        "step": 3,
        "accuracy": 0.5,
        "information": {"category": 1},
        "entropy": {"category": 2.3},
        "intervals": {"accuracy": [0.25, 0.75]},
        "verdict": {"trust": False, "reason": "no", "kinds": None, "merged": [1], "split": [[2, 3]]},
        "protocols": {},
    }
    run.add_metrics(whole | {"of a later version": "x", "long": 10**400})
    strange: list[dict[str, Any]] = [
        *({"verdict": verdict} for verdict in (None, {}, {"trust": 1, "reason": "x"}, {"trust": True, "reason": 0})),
        {"verdict": {"trust": True, "reason": "x", "sureness": "much"}},
        *({"intervals": {"accuracy": ends}} for ends in (None, [0.5], [0, 1, 2], ["a", "b"])),
        {"entropy": {}},
        {"information": {"category": 10**400}},
        {"disentanglement": {"mig": None}},
        *({name: {"x": 1}} for name in ("ignored", "protocol", "protocols", "left_out")),
    ]
    for one in strange:
        run.add_metrics(whole | one)
    append_line(run.metrics, "[]")
    assert run.read_metrics() == [whole]


def test_strange_lines_and_sessions_are_left_out_or_refused(tmp_path: Path) -> None:
    run = RunFolder.at(tmp_path)
    run.begin(small_config(), "a")
    run.stats.write_text(
        '5\n{}\n{"step": "x"}\n{"step": '
        + "9" * 400
        + "}\n"
        + "[" * 100_000
        + '\n{"step": 3, "a/b": "x", "c/d": 1.5}\n'
    )
    assert run.read_stats() == [{"step": 3, "c/d": 1.5}]
    run.rewind_stats(3)
    (run.checkpoints / "\u00b2.safetensors").parent.mkdir()
    (run.checkpoints / "\u00b2.safetensors").write_text("")
    assert latest_checkpoint_path(run.checkpoints) is None
    for strange in ("{}", "[1]", "[" * 100_000):
        (tmp_path / "environment.json").write_text(strange)
        with pytest.raises(UserError, match=r"environment\.json is damaged"):
            run.begin(small_config(), "a")
    (tmp_path / "environment.json").unlink()
    os.mkfifo(tmp_path / "environment.json")
    with pytest.raises(UserError, match="it is no file"):
        run.begin(small_config(), "a")

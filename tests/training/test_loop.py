import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infogan.config.load import build
from infogan.config.schema import Config
from infogan.data import load
from infogan.data.dataset import ImageSet
from infogan.models.networks import Networks
from infogan.training.callbacks import Interrupted, RunningMeans
from infogan.training.checkpoint import latest_checkpoint_path, load_latest_checkpoint
from infogan.training.loop import train
from infogan.training.optim import EMA, ema_decay, learning_rate_factor
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from infogan.utils.memory import usable_bytes
from tests.commands import Command, infogan
from tests.helpers import Hooks, bar_images, capture_networks, image_set, small_config

TWO_STAGES: list[dict[str, Any]] = [
    {"name": "first", "share": 1, "updates": [
        {"networks": ["discriminator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3},
        {"networks": ["generator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3},
    ]},
    {"name": "second", "share": 2, "updates": [
        {"networks": ["discriminator"], "losses": {"adversarial": 1.0, "r1": 0.1}, "learning_rate": 1e-3},
        {"networks": ["generator", "recognizer"], "losses": {"adversarial": 1.0, "information": 1.0},
         "learning_rate": 1e-3, "decay": "linear"},
    ]},
]  # fmt: skip


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    checkpoint, complaints = load_latest_checkpoint(run.checkpoints)
    assert checkpoint is not None
    assert not complaints
    return checkpoint.tensors


def trained(path: Path, config: Config, images: ImageSet | None = None, **watch: Any) -> RunFolder:
    images = images or image_set()
    run = RunFolder.at(path)
    run.begin(config, images.digest())
    train(config, images, run, callbacks=[Hooks(**watch)])
    return run


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# Resuming.


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_resume_at_any_step_equals_the_uninterrupted_run_bit_for_bit(tmp_path: Path, stop: int) -> None:
    config = small_config(stages=TWO_STAGES)
    whole = trained(tmp_path / "whole", config)
    steps: list[int] = []
    with pytest.raises(Interrupted) as caught:
        trained(tmp_path / "cut", config, on_step=steps.append, stop=lambda: len(steps) == stop - 1)
    assert caught.value.step == stop
    cut = trained(tmp_path / "cut", config)
    assert_same(weights(whole), weights(cut))
    without_time = [
        [
            {key: value for key, value in line.items() if key != "seconds"}
            for line in run.read_stats()
            if line["step"] % 2 == 0
        ]
        for run in (whole, cut)
    ]
    if stop % 2 == 0:  # otherwise the interruption itself reported, and the report after it covers fewer steps
        assert without_time[0] == without_time[1]
    assert (whole.model / "model.safetensors").read_bytes() == (cut.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("preset", ["paper-mnist", "post"])
def test_presets_resume_bit_for_bit(tmp_path: Path, preset: str) -> None:
    config = small_config(preset=preset, train={"batch_size": 16, "steps": 4})
    whole = trained(tmp_path / "whole", config)
    asked = itertools.count(1)
    with pytest.raises(Interrupted):
        trained(tmp_path / "cut", config, stop=lambda: next(asked) == 3)
    assert_same(weights(whole), weights(trained(tmp_path / "cut", config)))


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path: Path) -> None:
    a, b = (weights(trained(tmp_path / name, small_config())) for name in "ab")
    c = weights(trained(tmp_path / "c", small_config("train.seed=1")))
    assert_same(a, b)
    assert any(not torch.equal(a[name], c[name]) for name in a)


def test_training_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before, numpy_before = torch.random.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    trained(tmp_path, small_config())
    assert torch.equal(before, torch.random.get_rng_state())
    assert numpy_before == str(np.random.get_state())  # noqa: NPY002


def test_a_truncated_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    config = small_config()
    run = trained(tmp_path / "run", config)
    whole = weights(run)
    newest = latest_checkpoint_path(run.checkpoints)
    assert newest is not None
    newest.write_bytes(newest.read_bytes()[:-1000])
    again = trained(tmp_path / "run", config)
    assert_same(whole, weights(again))
    assert f"checkpoint {newest.name} is damaged" in (again.path / "log.txt").read_text()


def test_no_whole_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    config = small_config()
    run = trained(tmp_path / "run", config)
    for path in run.checkpoints.iterdir():
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="every checkpoint"):
        trained(tmp_path / "run", config)


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    run = trained(tmp_path, small_config("train.steps=9", "train.save_every=2"))
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["00000008.safetensors", "00000009.safetensors"]


COMMAND = ["train", "digits", "--steps", "110"]
COMMAND += ["--set", "networks.width=4", "--set", "networks.encoder_width=4"]
COMMAND += ["--set", "train.save_every=20", "--set", "train.log_every=5", "--out"]


def run_to_its_end(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a run by the command, begun or gone on with."""
    done = infogan(*COMMAND, path)
    assert done.returncode == 0, done.stderr
    return weights(RunFolder(path))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return run_to_its_end(tmp_path_factory.mktemp("uninterrupted") / "run")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_real_process_and_the_same_command_resumes_it(
    tmp_path: Path, uninterrupted: dict[str, torch.Tensor], number: signal.Signals, code: int
) -> None:
    process = Command(*COMMAND, tmp_path / "cut")
    process.wait_for_output("step 30/")
    process.signal(number)
    done = process.wait()
    assert done.returncode == code
    assert f"--out {tmp_path / 'cut'}" in done.stderr
    assert "to resume: infogan train digits" in done.stderr
    assert_same(uninterrupted, run_to_its_end(tmp_path / "cut"))


def test_a_killed_process_resumes_from_its_checkpoint_to_the_same_weights(
    tmp_path: Path, uninterrupted: dict[str, torch.Tensor]
) -> None:
    process = Command(*COMMAND, tmp_path / "cut")
    process.wait_for_output("step 65/")
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    assert latest_checkpoint_path(RunFolder(tmp_path / "cut").checkpoints) is not None
    assert_same(uninterrupted, run_to_its_end(tmp_path / "cut"))


# What it learns from.


class Unlabelled(ImageSet):
    """Fails whoever looks at the labels."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("labels", "label_names"):
            raise AssertionError("the labels were looked at")
        return super().__getattribute__(name)


@pytest.mark.parametrize("preset", ["robust", "disentangle"])
def test_a_batch_in_pieces_is_another_game_of_the_same_rules(tmp_path: Path, preset: str) -> None:
    length = {"steps": 6, "budget": None, "precision": "fp32"}
    config = small_config(preset=preset, networks={"encoder_width": 4}, train=length)
    whole, parted = trained(tmp_path / "whole", config), trained(tmp_path / "parted", in_pieces(config, 3))
    one, other = whole.read_stats()[0], parted.read_stats()[0]
    assert one.keys() == other.keys()
    terms = [key for key in one if "/" in key]
    apart = [abs(one[key] - other[key]) / max(1, abs(one[key])) for key in terms]
    assert 0 < max(apart) < 0.5  # batch norm goes by pieces
    assert set(weights(whole)) == set(weights(parted))


def test_a_run_goes_on_in_another_number_of_pieces(tmp_path: Path) -> None:
    config = small_config()
    run = RunFolder(tmp_path)
    with pytest.raises(Interrupted):
        trained(tmp_path, config, stop=lambda: latest_checkpoint_path(run.checkpoints) is not None)
    trained(tmp_path, in_pieces(config, 4))
    assert [line["step"] for line in run.read_stats()] == [2, 3, 4, 6]
    assert [session["accumulation_steps"] for session in run.read_environment()] == [1, 4]
    with pytest.raises(UserError, match=r"train.batch_size was 16, now 8"):
        trained(tmp_path, in_pieces(small_config("train.batch_size=8"), 4))


def test_a_batch_has_two_images_for_each_piece(tmp_path: Path) -> None:
    trained(tmp_path / "eight", in_pieces(small_config("train.steps=1"), 8))
    with pytest.raises(UserError, match="a batch of 16 can not be shared in 9 pieces"):
        trained(tmp_path / "nine", in_pieces(small_config(), 9))


def in_pieces(config: Config, pieces: int) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"accumulation_steps": pieces})})


@pytest.mark.parametrize("kind", ["infogan", "gan"])
def test_labels_are_never_touched_without_cgan(tmp_path: Path, kind: str) -> None:
    images = Unlabelled(bar_images(), [str(i) for i in range(64)], "bars", np.zeros(64, np.int64), ("a",))
    run = trained(tmp_path, small_config(objective={"kind": kind}), images)
    assert latest_checkpoint_path(run.checkpoints) is not None
    with pytest.raises(AssertionError, match="looked at"):
        _ = images.labels  # the loader does fail whoever looks


def test_a_cgan_reads_them(tmp_path: Path) -> None:
    options = small_config(objective={"kind": "cgan"}).model_dump()
    config = build({**options, "codes": [{"kind": "categorical", "name": "label", "size": 2}]})
    hidden = Unlabelled(bar_images(), [str(i) for i in range(64)], "bars", np.zeros(64, np.int64), ("a",))
    with pytest.raises(AssertionError, match="looked at"):
        trained(tmp_path / "hidden", config, hidden)
    run = trained(tmp_path / "run", config)
    saved = json.loads((run.model / "config.json").read_text())
    assert saved["names"] == {"label": ["lying", "upright"]}
    with pytest.raises(UserError, match="label for each image"):
        trained(tmp_path / "none", config, image_set(labelled=False))


def in_file(path: Path, images: NDArray[Any]) -> ImageSet:
    np.save(path, images)
    return load(path)


def test_a_run_on_images_in_their_file_is_that_on_images_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = in_file(tmp_path / "a.npy", image_set().images)
    config = small_config()
    monkeypatch.setattr("infogan.data.batches.MAX_RESIDENT_SHARE", 0.0)
    run, other = trained(tmp_path / "mapped", config, mapped), trained(tmp_path / "memory", config, image_set())
    assert (run.model / "model.safetensors").read_bytes() == (other.model / "model.safetensors").read_bytes()


def test_memory_is_what_a_container_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("infogan.utils.memory.CGROUP_LIMIT", limit)
    whole = usable_bytes()
    assert whole > 1e8
    for text, expected in (("max\n", whole), (f"{2 * whole}\n", whole), ("1000000\n", 1_000_000)):
        limit.write_text(text)
        assert usable_bytes() == expected


# What it reports.


def test_statistics_are_the_means_of_the_steps_since_the_last_report() -> None:
    means = RunningMeans(torch.device("cpu"))
    means.add({"a": torch.tensor(2.0)}, 0)
    means.add({"a": torch.tensor(5.0), "b": torch.tensor(7.0)}, 1)
    assert means.reset() == ({"a": 3.5, "b": 7.0}, None)
    means.add({"a": torch.tensor(2.0)}, 2)
    assert means.reset() == ({"a": 2.0}, None)


def test_what_went_wrong_first_is_named_whatever_was_computed_in_earlier_steps() -> None:
    good, bad = torch.tensor(1.0), torch.tensor(math.nan)
    means = RunningMeans(torch.device("cpu"))
    means.add({"early": good}, 0)  # known before the others
    means.add({"first": bad, "early": bad, "last": bad}, 7)
    means.add({"first": bad}, 8)
    assert means.reset()[1] == (8, "first")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_term_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path, bad: float) -> None:
    # A learning rate that blows the discriminator up stands for whatever makes a term go wrong.
    stages = json.loads(json.dumps(TWO_STAGES))[1:]
    config = small_config(stages=stages, train={"steps": 12, "batch_size": 16, "save_every": 4, "log_every": 1})
    steps: list[int] = []

    def poison(step: int) -> None:
        steps.append(step)
        if step == 5:
            seen[0].discriminator.head.weight.data.fill_(bad)

    with capture_networks() as seen, pytest.raises(UserError) as caught:
        trained(tmp_path, config, on_step=poison)
    message = str(caught.value)
    assert "discriminator/adversarial" in message
    assert "at step 6" in message
    assert "00000004.safetensors" in message
    assert all(torch.isfinite(tensor).all() for tensor in weights(RunFolder(tmp_path)).values())


def test_reports_hold_every_term_and_the_information_of_every_code(tmp_path: Path) -> None:
    run = trained(tmp_path, small_config())
    lines = run.read_stats()
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert [line["images"] for line in lines] == [32, 64, 96]
    for line in lines:
        assert {"discriminator/adversarial", "generator+recognizer/adversarial", "generator+recognizer/information",
                "information/category", "information/knob1", "information/knob2"} <= line.keys()  # fmt: skip
        total = -line["information/category"] - line["information/knob1"] - line["information/knob2"]
        entropies = math.log(10) + 2 * math.log(2)
        assert line["generator+recognizer/information"] == pytest.approx(total + entropies, abs=1e-4)


def test_learning_rate_falls_to_nothing_over_the_second_half() -> None:
    assert [learning_rate_factor("linear", p) for p in (0.0, 0.3, 0.5, 0.75, 0.99)] == pytest.approx(
        [1, 1, 1, 0.5, 0.02]
    )
    assert learning_rate_factor("none", 0.99) == 1


def test_the_average_halves_old_weights_in_a_half_life() -> None:
    config = small_config("train.ema_half_life=320", "train.steps=20000")
    kept = ema_decay(config, 10_000)
    assert kept ** (320 / 16) == pytest.approx(0.5, abs=1e-9)
    assert ema_decay(config, 0) < 0.01  # at the start it follows at once
    assert ema_decay(small_config("train.ema_half_life=0", "train.steps=200"), 100) == 0


def test_averages_move_as_stated_and_buffers_are_copied() -> None:
    average, layer = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    layer.weight.data.fill_(3.0)
    assert layer.running_mean is not None
    layer.running_mean.fill_(7.0)
    config = small_config("train.ema_half_life=320", "train.steps=20000")
    ema = EMA(cast(Networks, layer), cast(Networks, average), config)
    ema.update(10_000)
    decay = 0.5 ** (16 / 320)
    torch.testing.assert_close(average.weight.data, torch.full((2,), decay + 3 * (1 - decay)))
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [7.0, 7.0]


@pytest.mark.slow
def test_information_exceeds_two_nats_and_accuracy_beats_the_majority_on_digits(tmp_path: Path) -> None:
    from infogan.data import load
    from infogan.evaluation.evaluate import evaluate
    from infogan.evaluation.metric_groups import EvaluationInputs

    images, test = load("digits"), load("digits", split="test")
    config = small_config("train.steps=1500", "train.batch_size=64", "networks.width=24", "train.save_every=1500")
    run = RunFolder.at(tmp_path)
    run.begin(config, images.digest())
    result = evaluate(EvaluationInputs(train(config, images, run), images, test, 0))
    assert result["information"]["category"] > 2.0
    assert result["accuracy"] > 0.2


def test_the_discriminators_batch_statistics_do_not_matter_for_samples(tmp_path: Path) -> None:
    config = small_config()
    images = image_set()
    run = RunFolder.at(tmp_path)
    run.begin(config, images.digest())
    model = train(config, images, run)
    many = model.sample(40, seed=3).images
    few = model.sample(3, seed=3).images
    assert np.array_equal(many[:3], few)


def test_two_moves_of_one_player_at_the_same_rates_are_one_optimisers(tmp_path: Path) -> None:
    move = {"networks": ["generator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3}
    learn = {"networks": ["discriminator"], "losses": {"adversarial": 1.0}, "learning_rate": 1e-3}
    stages = [{"updates": [learn, move, move, {**move, "learning_rate": 2e-3}]}]
    config = small_config(objective={"kind": "gan"}, codes=[], networks={"width": 4}, stages=stages)
    run = trained(tmp_path / "run", config)
    counts = {name: float(tensor) for name, tensor in weights(run).items() if name.endswith(".step")}
    taken = {name.split(".")[1]: count for name, count in counts.items()}
    assert taken == {"0": 6.0, "1": 12.0, "2": 6.0}
    # And a run that stops between goes on as if it had not.
    again = tmp_path / "again"
    with pytest.raises(Interrupted):
        trained(again, config, stop=lambda: True)
    train(config, image_set(), RunFolder.at(again))
    assert_same(weights(RunFolder.at(again)), weights(run))


# Speed that must not cost anything: the eager float32 step is the reference.


def losses(path: Path, *assignments: str, preset: str, **sections: Any) -> dict[str, NDArray[np.float64]]:
    """What each term gave at each of 50 steps."""
    train_ = {"steps": 50, "batch_size": 16, "log_every": 1, "save_every": 100, "sample_every": 100}
    config = small_config(*assignments, preset=preset, train=train_, **sections)
    stats = trained(path, config, image_set()).read_stats()
    assert len(stats) == 50
    names = [name for name in stats[0] if "/" in name]
    return {name: np.array([line[name] for line in stats if name in line]) for name in names}


SMALL_ENCODER: dict[str, Any] = {
    "codes": [{"kind": "categorical", "size": 2}],
    "networks": {"width": 4, "encoder_width": 4},
}


@pytest.mark.parametrize(
    ("preset", "sections", "tolerances"),
    [
        ("plain", {}, {"adversarial": 0.01, "information": 0.06}),
        ("paper", {"networks": {"width": 4}}, {"adversarial": 0.03, "information": 0.4}),
        ("robust", SMALL_ENCODER, {"nt_xent": 0.01}),
    ],
)
def test_fifty_steps_in_bfloat16_lose_what_they_lose_in_float32(
    tmp_path: Path, preset: str, sections: dict[str, Any], tolerances: dict[str, float]
) -> None:
    full = losses(tmp_path / "fp32", "train.precision=fp32", preset=preset, **sections)
    half = losses(tmp_path / "bf16", "train.precision=bf16", preset=preset, **sections)
    assert full.keys() == half.keys()
    apart = {name: float(np.abs(full[name] - half[name]).max()) for name in full}
    assert min(apart.values()) > 0  # or nothing was computed in bfloat16
    for name, most in apart.items():
        term = name.split("/")[-1] if name.split("/")[0] != "information" else "information"
        assert most < tolerances[term], name


@pytest.mark.slow
def test_fifty_compiled_steps_lose_what_eager_ones_lose(tmp_path: Path) -> None:
    # In processes of their own: the checks of shapes that tests run under can not be compiled.
    lines = []
    for flag in ("--no-compile", "--compile"):
        words = ["train", "digits", "--preset", "plain", "--steps", "50", flag, "--out", str(tmp_path / flag)]
        smaller = ["train.batch_size=16", "networks.width=8", "train.log_every=1"]
        words += [word for option in smaller for word in ("--set", option)]
        subprocess.run([sys.executable, "-m", "infogan", *words], check=True, capture_output=True)
        lines.append(RunFolder.existing(tmp_path / flag).read_stats())
    assert len(lines[0]) == len(lines[1]) == 50
    for eager, compiled in zip(*lines, strict=True):
        for name in (name for name in eager if "/" in name):
            assert compiled[name] == pytest.approx(eager[name], abs=2e-3), f"{name} at step {eager['step']}"


def test_compiled_networks_are_refused_where_second_derivatives_are_wanted() -> None:
    with pytest.raises(UserError, match="r1 needs second derivatives"):
        small_config("train.compile=true", stages=TWO_STAGES)
    assert small_config(stages=TWO_STAGES).train.compile is False

"""The registry: every loss gives one value per sample, and a configuration is checked against what losses need."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from infogan.api import train_run
from infogan.api.resolve import compose
from infogan.config.load import build, merge
from infogan.config.presets import PRESETS
from infogan.config.schema import Config, NetworkName
from infogan.training.losses import LOSSES, ForwardCache, check_losses, register
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError
from tests.helpers import DISCRIMINATOR, GENERATOR, begin_update, make_context, small_config
from tests.training.losses import backward, parts_with_gradient


def with_everything(**sections: Any) -> Config:
    """Return a configuration that has what every loss needs."""
    networks = {"width": 4, "encoder_width": 4, "pair_classifier": True}
    codes = [*PRESETS["robust"]["codes"], {"kind": "continuous", "follows": "size"}]
    return small_config(preset="robust", networks=networks, codes=codes, data={"labels": "some.csv"}, **sections)


def update(**losses: float) -> dict[str, Any]:
    return {"networks": ["generator"], "losses": losses, "learning_rate": 1e-3}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_returns_one_value_per_sample(name: str) -> None:
    context, _ = make_context(with_everything(), 8)
    context.labelled = context.reals, torch.zeros(8, dtype=torch.int64)
    context.targets = torch.full((8, 10), 0.1)
    needs = LOSSES[name].needs
    trained: tuple[NetworkName, ...] = DISCRIMINATOR if name == "r1" else GENERATOR
    if "encoder" in needs or "reader" in needs:
        trained = ("encoder",) if "encoder" in needs else ("reader",)
    values = LOSSES[name].compute(begin_update(context, trained, {name: 1.0}))
    assert values.shape == (8,)
    assert values.isfinite().all()
    assert values.requires_grad


def test_sample_losses_do_not_depend_on_the_rest_of_the_batch() -> None:
    # With networks that do not either, every shard of a batch gives the values that it has in the whole batch.
    config = small_config(networks={"recognizer": "shared", "width": 4, "pair_classifier": True})
    batch, networks = make_context(config)
    networks.eval()
    for trained in (DISCRIMINATOR, GENERATOR):
        names = [
            name
            for name, loss in LOSSES.items()
            if not {"encoder", "reader"} & loss.needs
            and name != "diversity"
            and (name != "r1" or trained == DISCRIMINATOR)
        ]
        forward = begin_update(batch, trained, dict.fromkeys(names, 1.0))
        values = {name: LOSSES[name].compute(forward) for name in names}
        codes = {name: values[2:5] for name, values in batch.codes.items()}
        shard = replace(batch, reals=batch.reals[2:5], noise=batch.noise[2:5], codes=codes, batch_size=3)
        shard.paired_code = batch.paired_code[2:5]  # which is drawn at random otherwise
        shard._images = {pairing: images[2:5] for pairing, images in batch._images.items()}
        shard_forward = begin_update(shard, trained, dict.fromkeys(names, 1.0))
        for name in names:
            torch.testing.assert_close(LOSSES[name].compute(shard_forward), values[name][2:5], rtol=1e-4, atol=1e-5)


def test_presets_have_losses_that_exist_and_have_what_they_need() -> None:
    for preset in ("robust", "plain", "paper", "post", "disentangle"):
        check_losses(build(compose(preset, [{"data": {"labels": "some.csv"}}])))
    check_losses(with_everything())


def test_unknown_loss_is_refused_with_the_nearest_name() -> None:
    config = small_config(stages=[{"name": "first", "updates": [update(adversarial=1.0, informations=1.0)]}])
    with pytest.raises(UserError, match=r"'informations'.*'information'"):
        check_losses(config)


@pytest.mark.parametrize(
    ("loss", "change", "remedy"),
    [
        ("information", {"objective": {"kind": "gan"}, "codes": []}, "--objective infogan"),
        ("nt_xent", {}, "networks.encoder=true"),
        ("infogan_cr", {}, "networks.pair_classifier=true"),
        ("supervised", {"networks": {"encoder": True}}, "--labels"),
        ("uda", {"networks": {"encoder": True}, "augment": {}}, "--augment"),
        ("r1", {"train": {"compile": True}}, "--compile"),
    ],
)
def test_missing_need_is_named_with_its_remedy(loss: str, change: dict[str, Any], remedy: str) -> None:
    options = {
        **compose("plain"),
        "augment": {"flip": 0.5},
        "stages": [{"name": "one", "updates": [update(**{loss: 1.0})]}],
    }
    options = {**merge(options, change), "augment": change.get("augment", {"flip": 0.5})}
    with pytest.raises(UserError) as caught:
        check_losses(build(options))
    for part in (f"'{loss}'", "'one'", remedy):
        assert part in str(caught.value)


def test_pair_losses_exclude_each_other() -> None:
    stages = [{"updates": [update(infogan_cr=1.0, variation_predictability=1.0)]}]
    with pytest.raises(UserError, match=r"infogan_cr.*variation_predictability"):
        check_losses(with_everything(stages=stages))


def test_compiled_networks_are_refused_only_with_second_derivatives() -> None:
    check_losses(small_config("train.compile=true"))
    stages = [{"updates": [{"networks": ["discriminator"], "losses": {"r1": 1.0}, "learning_rate": 1e-3}]}]
    check_losses(small_config(stages=stages))
    with pytest.raises(UserError, match="r1"):
        check_losses(small_config("train.compile=true", stages=stages))


def test_registered_loss_can_be_used_in_a_run(tmp_path: Path) -> None:
    with mock.patch.dict(LOSSES):

        @register("logit_norm", "encoder", "real_posterior")
        def logit_norm_loss(forward: ForwardCache) -> Tensor:
            """Return the mean square of the encoder's logits."""
            return forward.posterior_logits.square().mean(dim=1)

        context, networks = make_context(with_everything(), 8)
        backward(context, ("encoder",), {"logit_norm": 1.0})
        assert parts_with_gradient(networks) == {"encoder"}

        layer = {
            "data": {"source": "digits"},
            "networks": {"width": 4, "encoder_width": 4},
            "train": {"steps": 2, "batch_size": 8, "log_every": 1},
            "evaluation": {"samples": 100, "bootstrap_draws": 5},
        }
        assignments = ["stages.0.updates.0.losses.logit_norm=0.1", "stages.0.share=1e6"]
        run = RunFolder.at(tmp_path / "run")
        train_run.train_run(train_run.plan(compose("robust", [layer], assignments)), run)
        assert all(record["encoder/logit_norm"] > 0 for record in run.read_stats())
    assert "logit_norm" not in LOSSES

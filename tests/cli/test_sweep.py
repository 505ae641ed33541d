"""The arguments of the command ``sweep``; `tests.api.test_sweep` trains runs."""

from pathlib import Path

import pytest

from infogan.cli.sweep import check_arguments, parse_grid
from infogan.utils.errors import UserError
from tests.commands import invoke


def test_a_grid_is_parsed_as_people_write_it() -> None:
    texts = ["recipe=plain, paper", 'a.b=[[1,2],[3]],"x,y",{"k": [1]}', 'augment="shift,rotate=9",none']
    assert parse_grid(texts) == {
        "recipe": ["plain", "paper"],
        "a.b": ["[[1,2],[3]]", '"x,y"', '{"k": [1]}'],
        "augment": ["shift,rotate=9", "none"],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "x"], "'x'"),
        (["--seeds", "3-1"], "'3-1'"),
        (["--seeds", "3-1,5"], "'3-1,5'"),
        (["--seeds", "1,1"], "seed-1"),
        (["--grid", "noise.size"], "'noise.size'"),
        (["--grid", "noise.size=1,,2"], "'noise.size=1,,2'"),
        (["--grid", "seed=1,2"], "--seeds"),
        (["--grid", "data.source=mnist,digits"], "the same data"),
        (["--grid", "train.seed=1,2"], "--seeds"),
        (["--grid", "steps=1,2", "--grid", "steps=3"], "steps is given twice"),
        (["--grid", "noise.sise=1,2"], "did you mean 'noise.size'"),
        (["--vary", "noise.size=1,x"], "noise.size"),
        (["--grid", "steps=1,2", "--vary", "steps=3"], "--grid and --vary"),
        (["--", "--out", "here"], "--out"),
        (["--", "--json"], "--json"),
        (["--", "--print-config"], "--print-config"),
        (["--", "--seed", "3"], "--seeds"),
        (["--", "--set", "train.seed=5"], "--seeds"),
        (["--", "--track", "neptune"], "neptune"),
        ([], "nothing-there"),
        (["--", "--recipe", "nope"], "nope"),
        (["--", "--preset", "nope"], "recipe 'nope'"),
        (["--", "--steps", "3", "--images-seen", "4"], "given twice"),
        (["--", "--stepz", "3"], "--stepz"),
    ],
)
def test_wrong_arguments_are_refused_before_any_run(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = invoke("sweep", "nothing-there", "--out", tmp_path / "sweep", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "sweep").exists()


def test_arguments_of_a_run_are_checked() -> None:
    check_arguments(["digits", "--track", "mlflow", "--categorical", "auto", "--seed", "0"], "digits", 0)
    with pytest.raises(UserError, match="--seeds"):
        check_arguments(["digits", "--seed", "1"], "digits", 0)

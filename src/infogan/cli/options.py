"""Arguments and options that several commands share, and the values they stand for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from infogan.utils.errors import UserError

Run = Annotated[Path, typer.Argument(help="Run folder or model folder.", show_default=False)]
OnlyRun = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)]
Model = Annotated[
    str, typer.Argument(metavar="RUN", help="Run folder, model folder or hf://user/name.", show_default=False)
]
SOURCE_HELP = "Name of a data set, or a folder, .zip, .parquet, .npz, .npy or IDX file, or an address such as s3://..."
Source = Annotated[str, typer.Argument(help=SOURCE_HELP, show_default=False)]
FixedCodes = Annotated[list[str] | None, typer.Option("--code", help="Fixed code: category=3 or knob1=-0.5.")]
Seed = Annotated[int, typer.Option(help="Random seed of noise and codes.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Output as one JSON object.")]

SHAPE_HELP = "How oblong images become square: crop or pad. Default: crop."
SIZE_HELP = "Height and width in pixels, 8 to 128. Default: those of the images."
CHANNELS_HELP = "1 for grey, 3 for RGB. Default: those of the images."
STRICT_HELP = "Error for unreadable images instead of skipping them."

Value = TypeVar("Value")


def merge_alias(option: str, value: Value | None, alias: str, old_value: Value | None) -> Value | None:
    """Return the value of an option that has an old name, too.

    Raises:
        UserError: Both names are given, with different values.

    Example:
        >>> merge_alias("recipe", None, "preset", "paper")
        'paper'
    """
    if value and old_value and value != old_value:
        raise UserError(
            f"--{option} and --{alias} are the same option, but have different values: pass --{option} only"
        )
    return value or old_value


def parse_codes(assignments: Sequence[str] | None) -> dict[str, str]:
    """Return assignments such as ``category=3`` as a mapping; raise UserError if one has another form."""
    codes = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"--code {assignment!r} is not of the form name=value")
        codes[name.strip()] = value.strip()
    return codes

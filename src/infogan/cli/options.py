"""Arguments and options that several commands share, and the values they stand for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from infogan.utils.errors import UserError

NOT_TRUSTED = 3  # exit code

OLD_NAMES = {  # by command: the names that options had in version 0.1, with those they have now
    "train": {"--preset": "--recipe", "--invariance": "--augment", "--fit": "--shape", "--images": "--images-seen"},
    "prepare": {"--fit": "--shape"},
    "sweep": {"--vary": "--grid"},
    "explore": {"--images": "--limit"},
}

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder or model folder.", show_default=False)]
OnlyRun = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", show_default=False)]
Model = Annotated[
    str, typer.Argument(metavar="RUN", help="Run folder, model folder or hf://user/name.", show_default=False)
]
SOURCE_HELP = "Name of a data set, or a folder, .zip, .parquet, .npz, .npy or IDX file, or an address such as s3://..."
Source = Annotated[str, typer.Argument(metavar="DATA", help=SOURCE_HELP, show_default=False)]
Split = Annotated[
    str | None, typer.Option(help="Split: train or test. Default: train, or all images if there are no splits.")
]
FixedCodes = Annotated[list[str] | None, typer.Option("--code", help="Fixed code: category=3 or knob1=-0.5.")]
Seed = Annotated[int, typer.Option(help="Random seed of noise and codes.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or mps.")]
REQUIRE_TRUST_HELP = "Exit code 3 if the verdict is not to trust the run."
RequireTrust = Annotated[bool, typer.Option("--require-trust", help=REQUIRE_TRUST_HELP)]
DataOfRun = Annotated[
    str | None, typer.Option("--data", help="Where the training images of the run are now. Default: where they were.")
]
THREADS_HELP = "Number of CPU threads. Default: one per core. Another number gives other bits."
Threads = Annotated[int | None, typer.Option(help=THREADS_HELP, min=1)]
Json = Annotated[bool, typer.Option("--json", help="Output as one JSON object.")]

RANGE_HELP = "Values of black and white, e.g. 0,4095. Default: 0,255; 0,65535 for 16 bits; 0,1 for floats."
LINKS_HELP = "Follow symbolic links to folders, and those that lead out of the folder."
FEATURES_HELP = (
    "Pretrained encoder that finds the categories: lite0, timm:NAME, hf:NAME, open_clip:NAME/TAG, onnx:FILE, or a "
    ".npy, .npz or .parquet file of vectors; auto or auto:NAME compares it with the run's own features. Default: none, "
    "the run learns its own features."
)
KNOB_HELP = (
    "Continuous code that follows a property of the images: slant, thickness, size, shift-x, shift-y, rotate, "
    "brightness or hue. rotate=20 also turns the training images by up to 20 degrees, for images that vary too little "
    "by themselves. Several with commas, or repeat it."
)
FEATURES_SIZE_HELP = "Height and width of the images that the pretrained encoder sees, in pixels. Default: its own."
SHAPE_HELP = "How oblong images become square: crop or pad. Default: crop."
SIZE_HELP = "Height and width in pixels, 8 to 256. Default: those of the images if all agree, else 64."
CHANNELS_HELP = "1 for grey, 3 for RGB, up to 16 for other bands. Default: those of the images."
BANDS_HELP = "Three channels of other bands that are shown as red, green and blue, e.g. 4,3,2. Default: 1,2,3."
STRICT_HELP = "Error for files that cannot be read instead of leaving them out."
Range = Annotated[str | None, typer.Option("--range", help=RANGE_HELP)]
Bands = Annotated[str | None, typer.Option("--bands", help=BANDS_HELP)]
FollowLinks = Annotated[bool, typer.Option("--follow-links", help=LINKS_HELP)]


class RenamedOptions(TyperCommand):
    """A command that accepts its options by their old names, too; `OLD_NAMES` lists them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raise UserError if an option is given by both of its names."""
        names = [word.partition("=")[0] for word in args]
        for old, new in OLD_NAMES[str(self.name)].items():
            if old in names and new in names:
                raise UserError(f"{new} and {old} are the same option: pass {new} only")
            args = [word.replace(old, new, 1) if name == old else word for name, word in zip(names, args, strict=True)]
        return super().parse_args(ctx, args)


def exit_unless_trusted(result: Mapping[str, Any]) -> None:
    """End the command with exit code 3 if an evaluation says not to trust the run.

    Raises:
        UserError: It has no verdict.
    """
    if "verdict" not in result:
        raise UserError("--require-trust needs a verdict, which only runs with categories have")
    if not result["verdict"]["trust"]:
        raise typer.Exit(NOT_TRUSTED)


def parse_range(text: str | None) -> tuple[float, float] | None:
    """Return a range such as ``0,4095`` as two numbers; raise UserError if it has another form.

    Example:
        >>> parse_range("0,4095")
        (0.0, 4095.0)
    """
    if text is None:
        return None
    try:
        black, white = map(float, text.split(","))
    except ValueError:
        raise UserError(f"--range {text!r} is not of the form BLACK,WHITE, e.g. 0,4095") from None
    return black, white


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Return bands such as ``4,3,2`` as numbers; raise UserError if they have another form.

    Example:
        >>> parse_bands("4,3,2")
        (4, 3, 2)
    """
    if text is None:
        return None
    try:
        red, green, blue = map(int, text.split(","))
    except ValueError:
        raise UserError(f"--bands {text!r} is not of the form RED,GREEN,BLUE, e.g. 4,3,2") from None
    return red, green, blue


def parse_features(source: str | None, size: int | None) -> dict[str, Any]:
    """Return the options of the section ``features`` for ``--features`` and ``--features-size``."""
    values = {"source": "" if source == "none" else source, "size": size}
    return {name: value for name, value in values.items() if value is not None}


def parse_codes(assignments: Sequence[str] | None) -> dict[str, str]:
    """Return assignments such as ``category=3`` as a mapping; raise UserError if one has another form."""
    codes = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"--code {assignment!r} is not of the form name=value")
        codes[name.strip()] = value.strip()
    return codes

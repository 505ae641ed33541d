"""The files of a model that are pushed to the Hugging Face Hub."""

from pathlib import Path

from infogan.models.infogan import InfoGAN
from infogan.models.serialization import CONFIG, README, WEIGHTS
from infogan.utils.errors import UserError


def files_to_push(path: Path, repo_id: str, license: str | None) -> dict[str, bytes]:
    """Return the files of a run or model folder that one commit pushes, by file name.

    A model folder with a card is pushed as it is, with the PNG files next to it, because a person may have edited the
    card. Otherwise the files are those of `InfoGAN.files`.

    Raises:
        UserError: As `InfoGAN.load` and `InfoGAN.files`; or a license for a card that exists, or a symbolic link.
    """
    model = InfoGAN.load(path)
    if model.run_path is not None or not (path / README).is_file():
        return model.files(repo_id=repo_id, license=license)
    if license is not None:
        raise UserError(f"{path / README} is pushed as it is: write its license there")
    files = [path / CONFIG, path / WEIGHTS, path / README, *sorted(path.glob("*.png"))]
    if links := [file for file in files if file.is_symlink()]:
        raise UserError(f"{links[0]} is a symbolic link; links are not uploaded. Replace it with the file")
    return {file.name: file.read_bytes() for file in files}

"""The model folder: ``config.json`` describes a model, ``model.safetensors`` holds its weights."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import AfterValidator, Field, ValidationError, model_validator
from torch import Tensor

from infogan.config.migrate import migrate_model_config, migrate_model_tensors
from infogan.config.schema import RUNTIME_OPTIONS, Code, Config, NetworkSettings, NoiseSettings, Settings
from infogan.data.preprocess import MAX_CHANNELS, SIZES, Bands, ValueRange, error_reason
from infogan.models.architectures import ARCHITECTURES, ImageShape
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.utils.errors import UserError, encodable
from infogan.utils.files import write_bytes
from infogan.utils.memory import report_memory_shortage

CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
FORMAT = 2  # version of config.json; format 1 is migrated when read
MAX_CONFIG_BYTES = 2**20
MAX_HEADER_BYTES = 2**20  # of a safetensors file


class ReadingSettings(Settings):
    """How images are read, as in `DataSettings`."""

    shape: Literal["crop", "pad"] = "crop"
    value_range: ValueRange | None = None
    bands: Bands | None = None


class ModelConfig(Settings):
    """Content of a model folder's ``config.json``: all that is needed to rebuild a model without its weights.

    Attributes:
        format: Version of this file's format.
        kind: Objective that the model was trained with.
        channels: Channels of the images.
        size: Height and width of the images in pixels.
        reading: How the training images were read, and others should be.
        noise: Size and distribution of z.
        codes: Latent codes, in the order of their columns.
        networks: Architecture and widths.
        trained_as: First digits of the SHA-256 of the run's configuration, to tell models apart; "" if unknown.
        names: By categorical code, one name per value; "" for a value without a name.
        order: By categorical code, its values in the order of display.
    """

    format: Literal[2] = 2
    kind: Literal["gan", "cgan", "infogan"]
    channels: Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
    size: Annotated[int, Field(ge=SIZES.start, lt=SIZES.stop)]
    reading: ReadingSettings = Field(default_factory=ReadingSettings)
    noise: NoiseSettings
    codes: tuple[Code, ...]
    networks: NetworkSettings
    trained_as: str = ""
    names: dict[str, tuple[Annotated[str, AfterValidator(encodable)], ...]] = Field(default_factory=dict)
    order: dict[str, tuple[int, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_names_and_order(self) -> "ModelConfig":
        sizes = {code.name: code.size for code in self.codes if code.kind == "categorical"}
        for code, names in self.names.items():
            if len(names) != sizes.get(code):
                raise ValueError(f"code {code!r} has {sizes.get(code)} values but {len(names)} names")
        for code, order in self.order.items():
            if sorted(order) != list(range(sizes.get(code, -1))):
                raise ValueError(f"the order of code {code!r} must list each of its values once")
        return self

    @classmethod
    def parse(cls, content: bytes) -> "ModelConfig":
        """Parse the content of ``config.json``, in the format of this version or an older one.

        Raises:
            UserError: a newer version of infogan wrote it.
            ValueError: it is not the configuration of a model.
            RecursionError: it is nested too deeply.
        """
        values = json.loads(content.decode("utf-8"))
        if isinstance(values, dict):
            version = values.get("format")
            if type(version) is int and version > FORMAT:
                raise UserError(
                    f"a newer version of infogan made this model (format {version}; this version reads up to {FORMAT}):"
                    " run pip install --upgrade infogan"
                )
            values = migrate_model_config(values)
        return cls.model_validate(values)

    @classmethod
    def of(cls, config: Config, shape: ImageShape, names: Mapping[str, Sequence[str]] | None = None) -> "ModelConfig":
        """Return the configuration of the model that a run trains.

        Args:
            config: Configuration of the run.
            shape: Shape of its images.
            names: By categorical code, one name per value.
        """
        return cls(
            kind=config.objective.kind,
            channels=shape.channels,
            size=shape.size,
            reading=ReadingSettings(**config.data.model_dump(include={*ReadingSettings.model_fields})),
            noise=config.noise,
            codes=config.codes,
            networks=config.networks,
            trained_as=sha256(config.model_dump_json(exclude=RUNTIME_OPTIONS).encode()).hexdigest()[:16],
            names={code: tuple(values) for code, values in (names or {}).items() if values},
        )

    @property
    def shape(self) -> ImageShape:
        """Shape of the images."""
        return ImageShape(self.channels, self.size)

    @property
    def image_summary(self) -> str:
        """Description of the images, such as ``28x28 grey images``."""
        side = f"{self.size}x{self.size}"
        if self.channels in (1, 3):
            return f"{side} {'grey' if self.channels == 1 else 'colour'} images"
        return f"{side} images of {self.channels} channels"

    @property
    def code_summary(self) -> str:
        """Description of the codes, such as ``category (10 values), knob1, knob2``."""
        return ", ".join(map(_describe_code, self.codes)) or "no codes"

    def is_same_model(self, other: "ModelConfig") -> bool:
        """Return whether two configurations differ only in the names and orders of codes and values."""
        excluded: dict[str, Any] = {"codes": {"__all__": {"name"}}, "names": True, "order": True, "trained_as": True}
        same_run = self.trained_as == other.trained_as or "" in (self.trained_as, other.trained_as)
        return same_run and self.model_dump(exclude=excluded) == other.model_dump(exclude=excluded)


def _describe_code(code: Code) -> str:
    return f"{code.name} ({code.size} values)" if code.kind == "categorical" else code.name


def model_folder(path: Path) -> Path:
    """Return the model folder of a run folder, or ``path`` itself if it has no subfolder ``model``."""
    return path / "model" if (path / "model").is_dir() else path


def read_config(folder: Path) -> ModelConfig:
    """Read the configuration of a model folder; raises UserError if it is missing or damaged."""
    with _explain_damage(folder):
        return ModelConfig.parse((folder / CONFIG).read_bytes())


def read_model(path: Path) -> tuple[Path, ModelConfig, Networks]:
    """Read the model of a run folder or a model folder, on the CPU.

    Returns:
        The model folder, its configuration and its networks.

    Raises:
        UserError: there is no model, it is damaged, or a newer version of infogan wrote it.
    """
    folder = model_folder(path)
    if missing := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        raise UserError(f"{path} is neither a run folder with a model nor a model folder: it has no {missing[0]}")
    config = read_config(folder)
    with _explain_damage(folder):
        networks = trained_networks(config, _read_weights(folder / WEIGHTS))
    return folder, config, networks


def _read_weights(path: Path) -> dict[str, Tensor]:
    if encodable(str(path)) == str(path):
        return safetensors.torch.load_file(path)
    return safetensors.torch.load(path.read_bytes())  # safetensors opens no path that is not UTF-8


def max_weight_bytes(folder: Path) -> int:
    """Return the maximum size in bytes of the weight file that belongs to the configuration in a folder.

    Raises:
        UserError: there can be no such model, or the configuration is damaged.
    """
    config = read_config(folder)
    with _explain_damage(folder), torch.device("meta" if _is_large(config) else "cpu"):
        tensors = untrained_networks(config).state_dict().values()
    return MAX_HEADER_BYTES + sum(int(tensor.nbytes) for tensor in tensors)


def write_model_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write the files of `InfoGAN.files`, each atomically; an existing README.md stays as it is.

    Returns:
        The paths of the files that were written.

    Raises:
        UserError: the folder is not writable.
    """
    paths = [folder / name for name in files if name != README or not (folder / name).exists()]
    for path in paths:
        write_bytes(path, files[path.name])
    return paths


def trained_networks(config: ModelConfig, tensors: Mapping[str, Tensor]) -> Networks:
    """Build the networks of a configuration with weights of this version or an older one.

    Raises:
        ValueError: names or shapes differ, for large networks found before memory is allocated for them; or a weight is
            not finite.
        RuntimeError: names or shapes of small networks differ.
    """
    tensors = migrate_model_tensors(tensors)
    if _is_large(config):
        with torch.device("meta"):
            expected = untrained_networks(config).state_dict()
        if {name: t.shape for name, t in tensors.items()} != {name: t.shape for name, t in expected.items()}:
            raise ValueError(f"{CONFIG} describes other networks than those in {WEIGHTS}")
    networks = untrained_networks(config)
    networks.load_state_dict(tensors)
    _check_weights(networks)
    return networks


def _check_weights(networks: Networks) -> None:
    """Raise ValueError if a model cannot have been trained: with these weights it would draw noise, or fail in use."""
    for name, tensor in networks.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} in {WEIGHTS} is NaN or infinite; train the model again, or use another copy")
        is_prior = name.endswith("prior")
        if (is_prior or name.endswith("running_var")) and ((tensor < 0).any() or (is_prior and tensor.sum() == 0)):
            raise ValueError(f"{name} in {WEIGHTS} is negative or zero; train the model again, or use another copy")


def untrained_networks(config: ModelConfig) -> Networks:
    """Build the networks of a configuration, without trained weights."""
    layout = CodeLayout(config.noise, config.codes)
    return build_networks(config.networks, layout, config.shape, kind=config.kind, seed=0)


@contextmanager
def _explain_damage(folder: Path) -> Iterator[None]:
    """Turn errors that a damaged model folder causes into a UserError of one line."""
    try:
        with report_memory_shortage():
            yield
    except UserError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        is_newer = isinstance(error, ValidationError) and error.errors()[0]["type"] == "extra_forbidden"
        hint = " (a newer version of infogan may have written it)" if is_newer else ""
        reason = f"{error_reason(error)}{hint}"
        raise UserError(f"the model in {folder} is damaged or not an infogan model: {reason}") from error


def _is_large(config: ModelConfig) -> bool:
    """Return whether the networks are far larger than those of any recipe, so that building them may exhaust memory.

    Only then they are built without memory: PyTorch's meta device costs a process a second of imports.
    """
    settings, default_width = config.networks, ARCHITECTURES[config.networks.architecture].width
    latent_size = CodeLayout(config.noise, config.codes).latent_size
    return (settings.width or 0) > 2 * default_width or settings.encoder_width > 32 or latent_size > 4096

"""The model folder: ``config.json``, what a model is, and ``model.safetensors``, its weights."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError, model_validator

from infogan.config.schema import (
    RUNTIME_OPTIONS,
    CategoricalCode,
    Code,
    Config,
    NetworkSettings,
    NoiseSettings,
    Settings,
)
from infogan.data.preprocess import SIZES
from infogan.models.architectures import ARCHITECTURES, ImageShape
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, build_networks
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes
from infogan.utils.memory import report_memory_shortage

CONFIG, WEIGHTS, README = "config.json", "model.safetensors", "README.md"
FORMAT = 1  # of a model folder
MOST_CONFIG, MOST_HEADER = 2**20, 2**20  # bytes, of a configuration and of what stands before the weights


class ModelConfig(Settings):
    """What a model must know of itself to be rebuilt: ``config.json`` of a model folder."""

    format: Literal[1] = 1
    kind: Literal["gan", "cgan", "infogan"]
    channels: Literal[1, 3]
    size: Annotated[int, Field(ge=SIZES.start, lt=SIZES.stop)]
    noise: NoiseSettings
    codes: tuple[Code, ...]
    networks: NetworkSettings
    trained_as: str = ""  # the first digits of the SHA-256 of the run's configuration, which tells models apart
    names: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # categorical code -> a name a value, "" = none
    order: dict[str, tuple[int, ...]] = Field(default_factory=dict)  # categorical code -> its values as they are shown

    @model_validator(mode="after")
    def _names_and_order_fit(self) -> "ModelConfig":
        sizes = {code.name: code.size for code in self.codes if isinstance(code, CategoricalCode)}
        for code, names in self.names.items():
            if len(names) != sizes.get(code):
                raise ValueError(f"there are {len(names)} names for the values of {code!r}")
        for code, order in self.order.items():
            if sorted(order) != list(range(sizes.get(code, -1))):
                raise ValueError(f"the order of {code!r} is not one of its values")
        return self

    @classmethod
    def parse(cls, content: bytes) -> "ModelConfig":
        """What a file ``config.json`` holds.

        Raises:
            UserError: a newer version of infogan wrote it.
            ValueError: it is no configuration of a model; or, by its depth, RecursionError.
        """
        told = json.loads(content.decode("utf-8"))
        if isinstance(told, dict) and type(told.get("format")) is int and told["format"] > FORMAT:
            raise UserError(
                f"a newer version of infogan made this model (format {told['format']}, and this one reads {FORMAT}): "
                "pip install --upgrade infogan"
            )
        return cls.model_validate(told)

    def is_of_the_same_model(self, other: "ModelConfig") -> bool:
        """Whether only the names and the orders differ."""

        def unnamed(config: "ModelConfig") -> "ModelConfig":
            codes = tuple(code.model_copy(update={"name": str(i)}) for i, code in enumerate(config.codes))
            return config.model_copy(update={"codes": codes, "names": {}, "order": {}, "trained_as": ""})

        alike = unnamed(self) == unnamed(other)
        return alike and (self.trained_as == other.trained_as or "" in (self.trained_as, other.trained_as))

    @property
    def images_in_words(self) -> str:
        """What the images are, such as ``28x28 grey images``."""
        return f"{self.size}x{self.size} {'grey' if self.channels == 1 else 'colour'} images"

    @property
    def codes_in_words(self) -> str:
        """What the codes are, such as ``category (10 values), knob1, knob2``."""
        told = [f"{code.name} ({code.size} values)" if isinstance(code, CategoricalCode) else code.name
                for code in self.codes]  # fmt: skip
        return ", ".join(told) or "no codes"

    @classmethod
    def of(cls, config: Config, shape: ImageShape, names: Mapping[str, Sequence[str]] | None = None) -> "ModelConfig":
        """The model's part of a run's configuration."""
        return cls(
            kind=config.objective.kind,
            channels=1 if shape.channels == 1 else 3,
            size=shape.size,
            noise=config.noise,
            codes=config.codes,
            networks=config.networks,
            trained_as=sha256(config.model_dump_json(exclude=RUNTIME_OPTIONS).encode()).hexdigest()[:16],
            names={code: tuple(values) for code, values in (names or {}).items() if values},
        )


def model_folder(path: Path) -> Path:
    """The model folder of a run folder, or ``path`` itself."""
    return path / "model" if (path / "model").is_dir() else path


def read_config(folder: Path) -> ModelConfig:
    """The configuration of a model folder; raises UserError where there is none that can be read."""
    with _reading(folder):
        return ModelConfig.parse((folder / CONFIG).read_bytes())


def read_networks(folder: Path, config: ModelConfig) -> Networks:
    """The networks of a model folder, on the CPU; raises UserError where the weights are damaged or of other ones."""
    with _reading(folder):
        if _is_large(config):
            _check_weights(config, folder / WEIGHTS)
        networks = networks_of(config)
        networks.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return networks


def most_bytes(folder: Path, config: ModelConfig) -> int:
    """What the weights of a model take in a file, at most; raises UserError where there can be no such model."""
    with _reading(folder), torch.device("meta" if _is_large(config) else "cpu"):
        tensors = networks_of(config).state_dict().values()
    return MOST_HEADER + sum(int(tensor.nbytes) for tensor in tensors)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Says in a sentence what is wrong with a model folder."""
    try:
        with report_memory_shortage():
            yield
    except UserError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        newer = " (a newer version of infogan may have made it)" if first["type"] == "extra_forbidden" else ""
        raise UserError(f"{folder / CONFIG} is not a model's configuration: {key}: {first['msg']}{newer}") from error
    except (OSError, ValueError, RuntimeError, RecursionError, safetensors.SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"the model in {folder} is damaged or not an infogan model: {reason}") from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Writes `InfoGAN.files`, each all or nothing, but for a card that is there already; says which it wrote.

    Raises:
        UserError: the folder can not be written.
    """
    paths = [folder / name for name in files if name != README or not (folder / name).exists()]
    for path in paths:
        write_bytes(path, files[path.name])
    return paths


def networks_of(config: ModelConfig) -> Networks:
    """Untrained networks of a configuration."""
    layout, shape = CodeLayout(config.noise, config.codes), ImageShape(config.channels, config.size)
    return build_networks(config.networks, layout, shape, kind=config.kind, seed=0)


def _is_large(config: ModelConfig) -> bool:
    """Whether networks are far larger than any recipe's, so that building them is to be thought about twice."""
    settings, layout = config.networks, CodeLayout(config.noise, config.codes)
    usual = ARCHITECTURES[settings.architecture].width
    latent = config.noise.size + sum(code.size for code in layout.categorical) + len(config.codes)
    return (settings.width or usual) > 2 * usual or settings.encoder_width > 32 or latent > 4096


def _check_weights(config: ModelConfig, weights: Path) -> None:
    """Compares what the configuration asks for with what the file has, before memory is taken for it.

    Not for all models: the first networks without memory cost a process a second of imports.

    Raises:
        ValueError: they are not of the same names and shapes.
    """
    with torch.device("meta"):
        expected = {name: list(tensor.shape) for name, tensor in networks_of(config).state_dict().items()}
    with safetensors.safe_open(weights, framework="pt") as file:
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
    if found != expected:
        raise ValueError("config.json tells of other networks than those whose weights these are")

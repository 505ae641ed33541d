"""What a user holds after training: a generator steered by named codes, and a recognizer that reads them.

``InfoGAN.load(path)`` takes a run folder or a model folder (``config.json`` + ``model.safetensors``, which alone is
enough), ``InfoGAN.from_pretrained("user/name")`` one of the Hugging Face Hub. Both give back an object that samples,
encodes, traverses and names its codes, and shows itself in a notebook. Images go in and come out as uint8 arrays of
shape (count, channels, height, width); randomness is a seed.
"""

import hashlib
import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from infogan.config.schema import CategoricalCode, ContinuousCode, is_code_name
from infogan.data.batches import stream_seed, to_network, to_pixels
from infogan.data.shards import Shards
from infogan.models import hub
from infogan.models.architectures import ImageShape
from infogan.models.hub import HubName
from infogan.models.latents import CodeLayout
from infogan.models.networks import Networks, fuse_batchnorm
from infogan.models.serialization import (
    CONFIG,
    MOST_CONFIG,
    README,
    WEIGHTS,
    ModelConfig,
    model_folder,
    most_bytes,
    networks_of,
    read_config,
    read_networks,
    write_folder,
)
from infogan.reports import figures, html_page, model_card
from infogan.training.run_dir import RunFolder
from infogan.utils import distributed
from infogan.utils.errors import UserError, unknown_name
from infogan.utils.files import folder_lock, to_json, write_bytes
from infogan.utils.matching import contingency, hungarian_mapping

Values = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]  # of a code: for all images, or one each

ROWS = 10  # of a sheet
MOST_VALUES = 100  # of a category, that a picture shows
DISPLAYED_ROWS, CARD_ROWS, DISPLAYED_VALUES = 4, 8, 20  # of the sheets that a notebook and a card show
DISPLAYED = 64  # samples that a notebook shows
OUTPUTS = ("pil", "np", "pt")
MESSAGE = "A model by infogan"  # of a commit to the Hub


@dataclass(frozen=True, repr=False)
class Samples:
    """Generated images and the codes they were made from.

    Attributes:
        images: uint8 (count, channels, height, width).
        codes: By name: int64 (count,) for a categorical code, float32 (count,) in [-1, 1] for a continuous one.
    """

    images: NDArray[np.uint8]
    codes: dict[str, NDArray[Any]]

    def __repr__(self) -> str:
        count, channels, height, width = self.images.shape
        return f"<Samples: {count} images, {channels} x {height} x {width}; codes: {', '.join(self.codes) or 'none'}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """A grid of the images, for notebooks."""
        shown = self.images[:DISPLAYED]
        bundle = {"text/plain": repr(self)}
        if len(shown):
            grid = figures.image_grid(shown, int(np.ceil(np.sqrt(len(shown)))))
            caption = f"The first {len(shown)} of {len(self.images)}." if len(shown) < len(self.images) else ""
            bundle["text/html"] = html_page.figure(grid, f"{len(shown)} generated images", caption)
        return bundle


@dataclass(frozen=True, repr=False)
class Encoding:
    """What the recognizer reads in images.

    Attributes:
        codes: By name: the most probable category, int64 (count,); or the mean of a continuous code, float32 (count,).
        probabilities: By name of a categorical code: float32 (count, size).
        deviations: By name of a continuous code: float32 (count,), the standard deviation of Q.
        entropy: float32 (count,), of the categorical posteriors together, in nats: 0 = sure.
    """

    codes: dict[str, NDArray[Any]]
    probabilities: dict[str, NDArray[np.float32]]
    deviations: dict[str, NDArray[np.float32]]
    entropy: NDArray[np.float32]

    def __repr__(self) -> str:
        told = []
        for name, values in self.codes.items():
            if name not in self.probabilities:
                told.append(f"{name} {values.mean():+.2f} on average" if len(values) else name)
                continue
            surest = self.probabilities[name].max(axis=1)
            sure = f", mean probability {surest.mean():.2f}" if len(values) else ""
            told.append(f"{name} of {len(np.unique(values))} values{sure}")
        return f"<Encoding of {len(self.entropy)} images: {'; '.join(told)}>"


class InfoGAN:
    """A trained model of any of the three objectives; a gan or cgan can not `encode`.

    Args:
        config: What the model is.
        networks: Its players, with the weights to be used (the averaged ones of a run).

    Attributes:
        shared: Whether several workers, all of which ask for the same, share what is drawn and read. Each has all of
            the result.
        run: The run that it is of, where that is at hand: `save_pretrained` then tells how it was trained.
    """

    def __init__(self, config: ModelConfig, networks: Networks) -> None:
        self.config = config
        self.layout = CodeLayout(config.noise, config.codes)
        self.networks = networks.eval().requires_grad_(False)
        self.shared = False
        self.run: RunFolder | None = None
        self._folded: tuple[list[tuple[int, int]], Networks] | None = None
        self.adopt_prior()

    @property
    def shape(self) -> ImageShape:
        """Of the images."""
        return ImageShape(self.config.channels, self.config.size)

    @property
    def parameter_count(self) -> int:
        """Of all networks together."""
        return sum(parameter.numel() for parameter in self.networks.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.networks.parameters()).device

    def to(self, device: torch.device | str) -> "InfoGAN":
        """Moves the weights; returns the model itself."""
        self.networks.to(device)
        return self

    def adopt_prior(self) -> None:
        """Takes a learned prior from the encoder, which keeps it with its weights."""
        if self.networks.encoder is not None:
            self.layout.set_prior(self.first_categorical().name, self.networks.encoder.prior)

    # Storing.

    @classmethod
    def load(cls, path: str | Path) -> "InfoGAN":
        """Loads a run folder's ``model/`` or a model folder, on the CPU; or ``hf://user/name`` as `from_pretrained`.

        Raises:
            UserError: there is no model at ``path``, or one that is damaged, foreign or of a newer format.
        """
        if isinstance(path, str) and path.startswith(hub.PREFIX):
            return cls.from_pretrained(path)
        if Path(path).parts[:1] == (hub.PREFIX.rstrip("/"),):  # which a path makes of the prefix
            raise UserError(f"a folder is needed, not {path}: hf download USER/NAME --local-dir FOLDER makes one")
        folder = model_folder(Path(path))
        for needed in (folder / CONFIG, folder / WEIGHTS):
            if not needed.is_file():
                raise UserError(f"{path} is neither a run folder with a model nor a model folder: no {needed}")
        config = read_config(folder)
        model = cls(config, read_networks(folder, config))
        if folder != Path(path) and RunFolder.is_at(Path(path)):
            model.run = RunFolder(Path(path))
        return model

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> "InfoGAN":
        """Loads a model from a folder, or by its name from the Hugging Face Hub, on the CPU.

        From the Hub ``config.json`` and ``model.safetensors`` are fetched, unless they were before, and nothing else.
        Where there is a folder of that name it is loaded, as by `load`, and the Hub is not asked.

        Args:
            pretrained_model_name_or_path: A folder; or ``user/name``, ``hf://user/name`` or
                ``hf://user/name@revision``.
            revision: A branch, tag or commit; None = the main branch.
            token: The user's; None = that of ``hf auth login``.
            cache_dir: Where fetched files are kept; None = where huggingface_hub keeps them.
            local_files_only: Whether to look at what was fetched before, and to ask nobody.
            force_download: Whether to fetch again what was fetched before.

        Raises:
            UserError: as `load` and `hub.fetch`, a folder is to have a revision, or there is a folder ``user`` here
                without the model in it: with ``hf://`` before it, it is sought on the Hub.
        """
        given = pretrained_model_name_or_path
        if isinstance(given, Path) or Path(given).is_dir():
            if revision is not None:
                raise UserError(f"{given} is a folder, which has no revision {revision!r}")
            return cls.load(Path(given))
        name = HubName.parse(given, revision)
        parent = Path(given).parent
        if not given.startswith(hub.PREFIX) and parent.is_dir():  # more likely a path with a mistake in it
            there = f"{hub.PREFIX}{given} is the model of that name on the Hub"
            raise UserError(f"there is no {Path(given).name} in the folder {parent}; {there}")
        asked: dict[str, Any] = {
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "force_download": force_download,
        }
        folder = hub.fetch(name, CONFIG, MOST_CONFIG, **asked).parent
        # The weights are those of the same commit, however soon after another one came.
        hub.fetch(replace(name, revision=folder.name), WEIGHTS, most_bytes(folder, read_config(folder)), **asked)
        return cls.load(folder)

    def files(self, *, repo_id: str | None = None, license: str | None = None) -> dict[str, bytes]:
        """A model folder as it is shared, by name of the file: the model, its card, and the card's pictures.

        Args:
            repo_id: What it will be called on the Hub, ``user/name``; None = that is not known.
            license: Such as ``mit``; None = that is for the card's reader to ask.

        Raises:
            UserError: a name that is none on the Hub; a license of other signs than letters, digits, dots, plus and
                minus; or a run that is damaged, or another one than the model's.
        """
        if repo_id is not None:
            HubName.checked(repo_id)
        sheets = {name: self.sheet(name, rows=CARD_ROWS, most=DISPLAYED_VALUES) for name in self.layout.codes}
        about = model_card.Subject(
            self.config,
            parameters=self.parameter_count,
            reads=self.networks.reads_codes,
            digest=self.digest(),
            samples=figures.image_grid(self.sample(DISPLAYED, seed=1).images, 8),
            sheets=sheets,
        )
        run = self.run if self.run is not None and RunFolder.is_at(self.run.path) else None  # it may be gone by now
        return {CONFIG: self._config(), WEIGHTS: self._weights(), **model_card.files(about, run, repo_id, license)}

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        license: str | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Writes a model folder with a card, ``README.md``, and its pictures; `load` and `from_pretrained` read it.

        Args:
            save_directory: The folder. A card that is there stays as it is, because a person may have written in it;
                remove it to have it written anew.
            push_to_hub: Whether to commit the same to the Hub.
            repo_id: What the model is called there, ``user/name``.
            license: Such as ``mit``, for the card.
            push_to_hub_kwargs: As for `push_to_hub`.

        Returns:
            The address of the commit, if there is one.

        Raises:
            UserError: as `files` and `hub.upload`, or the folder can not be written, or a commit to no name.
        """
        if push_to_hub and repo_id is None:
            raise UserError("push_to_hub needs to know where to: pass repo_id='user/name'")
        folder, files = Path(save_directory), self.files(repo_id=repo_id, license=license)
        write_folder(folder, files)
        if repo_id is None or not push_to_hub:
            return None
        kept = {README: (folder / README).read_bytes()}
        return hub.upload(repo_id, files | kept, **{"commit_message": MESSAGE} | push_to_hub_kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = MESSAGE,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        license: str | None = None,
    ) -> str:
        """Commits the model, its card and the card's pictures to the Hugging Face Hub.

        Args:
            repo_id: ``user/name``. The repository is made if there is none.
            commit_message: A line that says what changed.
            private: Whether only the user may see it; None = as the Hub has it.
            token: The user's; None = that of ``hf auth login``.
            branch: To commit to; None = the main branch.
            create_pr: Whether to propose the commit instead of making it.
            license: Such as ``mit``, for the card.

        Returns:
            The address of the commit, or of the proposal.

        Raises:
            UserError: as `files` and `hub.upload`.
        """
        return hub.upload(
            repo_id,
            self.files(repo_id=repo_id, license=license),
            commit_message=commit_message,
            private=private,
            token=token,
            branch=branch,
            create_pr=create_pr,
        )

    @classmethod
    def of_tensors(cls, config: ModelConfig, tensors: Mapping[str, Tensor]) -> "InfoGAN":
        """A model of its configuration and weights; raises RuntimeError where they do not fit."""
        networks = networks_of(config)
        networks.load_state_dict(dict(tensors))
        return cls(config, networks)

    def save(self, folder: str | Path) -> None:
        """Writes ``config.json`` and ``model.safetensors``, each all or nothing.

        Raises:
            UserError: the folder can not be written.
        """
        self.save_weights(folder)
        self.save_config(folder)

    def save_weights(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` alone; raises UserError where it can not."""
        write_bytes(Path(folder) / WEIGHTS, self._weights())

    def _weights(self) -> bytes:
        return safetensors.torch.save(
            {name: tensor.contiguous() for name, tensor in self.networks.state_dict().items()}
        )

    def save_config(self, folder: str | Path) -> None:
        """Writes ``config.json`` alone, which holds the names of the codes; raises UserError where it can not."""
        write_bytes(Path(folder) / CONFIG, self._config())

    def _config(self) -> bytes:
        return to_json(self.config.model_dump(mode="json"))

    def save_names(self, folder: str | Path, since: ModelConfig) -> None:
        """Writes ``config.json`` unless others changed it.

        Args:
            folder: Of this model.
            since: What the file said when the names were looked at.

        Raises:
            UserError: it says something else by now, and was left as it is; or it can not be read or written.
        """
        path = Path(folder) / CONFIG
        with folder_lock(Path(folder)):
            try:
                now = ModelConfig.parse(path.read_bytes())
            except (OSError, ValueError, RecursionError) as error:
                raise UserError(f"the names in {path} can not be read any more: {error}") from error
            if now != since:
                raise UserError(f"the names in {path} were changed meanwhile: look at them and say it again")
            self.save_config(folder)

    def adopt(self, config: ModelConfig) -> None:
        """Takes the names and orders of codes from another configuration of this same model."""
        self.config = config
        self.layout = CodeLayout(config.noise, config.codes)
        self.adopt_prior()

    # Generating.

    def sample(self, count: int, *, codes: Mapping[str, Values] | None = None, seed: int = 0) -> Samples:
        """Draws images from random noise and codes; those given in ``codes`` are fixed.

        Image i of a seed is the same whatever ``count`` is.

        Args:
            count: How many images.
            codes: By name of the code, one value for all images or one for each: a category's number or name, or a
                number in [-1, 1]. Values that share a name take turns.
            seed: Of noise and codes.

        Raises:
            UserError: an unknown code, a category out of range, a value outside [-1, 1], or a wrong number of values.
        """
        noise, drawn = self._draw(count, seed)
        for name, values in (codes or {}).items():
            drawn[name] = self._values(name, values, count)
        return Samples(self._generate(noise, drawn), {name: values.numpy() for name, values in drawn.items()})

    def __call__(
        self,
        count: int = 1,
        *,
        codes: Mapping[str, Values] | None = None,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
    ) -> Any:
        """Draws images as pipelines of diffusers do; `sample` tells their codes as well.

        Args:
            count: How many images.
            codes: As in `sample`.
            generator: What chance comes from, which moves on; None = the images of seed 0.
            output_type: ``pil``: a list of pictures. ``np``: float32 (count, height, width, channels), ``pt``: a tensor
                (count, channels, height, width), both in [0, 1].

        Raises:
            UserError: as `sample`, or another type of output.
        """
        if output_type not in OUTPUTS:
            raise unknown_name("output_type", output_type, OUTPUTS)
        seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))
        images = self.sample(count, codes=codes, seed=seed).images
        if output_type == "pil":
            return [figures.picture_of(image) for image in images]
        scaled = images.astype(np.float32) / 255
        return torch.from_numpy(scaled) if output_type == "pt" else scaled.transpose(0, 2, 3, 1)

    def traverse(
        self,
        code: str,
        *,
        values: Sequence[int] | Sequence[float] | Sequence[str] | None = None,
        rows: int = 10,
        codes: Mapping[str, Values] | None = None,
        seed: int = 0,
    ) -> NDArray[np.uint8]:
        """Varies one code along the columns and holds everything else; each row has noise and other codes of its own.

        Args:
            code: The code to vary.
            values: One a column; None = every category, or ten values from -1 to 1.
            rows: How many.
            codes: Others to fix, as in `sample`, for all rows or one a row.
            seed: Of noise and codes.

        Returns:
            uint8 (rows, columns, channels, height, width).

        Raises:
            UserError: as `sample`.
        """
        columns: Sequence[Any] = self.values_of(code) if values is None else list(values)
        noise, drawn = self._draw(rows, seed)
        for name, fixed in (codes or {}).items():
            drawn[name] = self._values(name, fixed, rows)
        spread = {name: row_values.repeat_interleave(len(columns)) for name, row_values in drawn.items()}
        spread[code] = self._values(code, columns, len(columns)).repeat(rows)
        images = self._generate(noise.repeat_interleave(len(columns), dim=0), spread)
        return images.reshape(rows, len(columns), *images.shape[1:])

    def lattice(
        self,
        across: str,
        down: str,
        *,
        columns: Sequence[int] | Sequence[float] | Sequence[str] | None = None,
        rows: Sequence[int] | Sequence[float] | Sequence[str] | None = None,
        codes: Mapping[str, Values] | None = None,
        seed: int = 0,
    ) -> NDArray[np.uint8]:
        """Varies two codes, one along the columns and one along the rows, and holds everything else.

        Noise and the other codes are those of the first sample of ``seed``.

        Args:
            across: The code along the columns.
            down: The code along the rows.
            columns: Values of ``across``; None as in `traverse`.
            rows: Values of ``down``; None as in `traverse`.
            codes: Others to fix, as in `sample`.
            seed: Of noise and codes.

        Returns:
            uint8 (rows, columns, channels, height, width).

        Raises:
            UserError: as `sample`, or one code is to go both ways.
        """
        if across == down:
            raise UserError(f"a lattice needs two codes, not {across!r} twice")
        over: Sequence[Any] = self.values_of(across) if columns is None else list(columns)
        under: Sequence[Any] = self.values_of(down) if rows is None else list(rows)
        wide, high = len(over), len(under)
        noise, drawn = self._draw(1, seed)
        held = drawn | {name: self._values(name, fixed, 1) for name, fixed in (codes or {}).items()}
        spread = {name: value.repeat(wide * high) for name, value in held.items()}
        spread[across] = self._values(across, over, wide).repeat(high)
        spread[down] = self._values(down, under, high).repeat_interleave(wide)
        images = self._generate(noise.repeat(wide * high, 1), spread)
        return images.reshape(high, wide, *images.shape[1:])

    def noise(self, count: int, *, seed: int = 0) -> Tensor:
        """The noise of the first ``count`` samples of a seed, (count, noise); raises UserError as `sample`."""
        return self._draw(count, seed)[0]

    def blended_noise(self, start: Tensor, end: Tensor, way: Tensor) -> Tensor:
        """Noise between two others, row by row: (count, noise).

        Normal noise goes along the great circle, so that it stays as likely as it was (White 2016), uniform noise
        straight.

        Args:
            start: (count, noise).
            end: (count, noise).
            way: (count,) from 0, the start, to 1, the end.
        """
        return (_slerp if self.config.noise.distribution == "normal" else _lerp)(start, end, way)

    def generate(self, noise: Tensor, codes: Mapping[str, Values]) -> NDArray[np.uint8]:
        """The images of given noise and codes.

        Args:
            noise: (count, noise).
            codes: Of every code, as in `sample`.

        Returns:
            uint8 (count, channels, height, width).

        Raises:
            UserError: as `sample`, or a code is missing.
        """
        if missing := [name for name in self.layout.codes if name not in codes]:
            raise UserError(f"code {missing[0]!r} is given no value")
        return self._generate(noise, {name: self._values(name, codes[name], len(noise)) for name in self.layout.codes})

    def interpolate(
        self, start: int, end: int, *, steps: int = 10, codes: Mapping[str, Values] | None = None
    ) -> Samples:
        """Walks from the first sample of seed ``start`` to that of seed ``end``.

        Noise goes as in `blended_noise`, continuous codes go straight, a categorical code switches half way.

        Args:
            start: Seed of the first image.
            end: Seed of the last image.
            steps: How many images, both ends included; at least 2.
            codes: Codes to hold, as in `sample`.

        Raises:
            UserError: as `sample`, or fewer than two steps.
        """
        if steps < 2:
            raise UserError(f"an interpolation needs at least 2 steps, not {steps}")
        (noise_a, codes_a), (noise_b, codes_b) = self._draw(1, start), self._draw(1, end)
        way = torch.linspace(0, 1, steps)
        noise = self.blended_noise(noise_a.expand(steps, -1), noise_b.expand(steps, -1), way)
        walked = {
            name: torch.lerp(a, codes_b[name], way)
            if a.is_floating_point()
            else torch.where(way < 0.5, a, codes_b[name])
            for name, a in codes_a.items()
        }
        for name, values in (codes or {}).items():
            walked[name] = self._values(name, values, steps)
        return Samples(self._generate(noise, walked), {name: values.numpy() for name, values in walked.items()})

    # Reading.

    def encode(self, images: NDArray[np.uint8] | Shards, *, batch_size: int = 500) -> Encoding:
        """Reads the codes of images.

        Args:
            images: uint8 (count, channels, height, width) in the model's shape; may be mapped, or in shards.
            batch_size: How many at a time; does not change the result.

        Raises:
            UserError: the model has no recognizer, or the images another shape or type.
        """
        posterior = self._posterior(images, batch_size)
        readings = self.layout.read(posterior)
        codes: dict[str, NDArray[Any]] = {}
        probabilities, deviations = {}, {}
        entropy = torch.zeros(len(posterior))
        for name, reading in readings.items():
            if reading.probabilities is not None:
                codes[name] = reading.probabilities.argmax(dim=1).numpy()
                probabilities[name] = reading.probabilities.numpy()
                entropy = entropy + torch.special.entr(reading.probabilities).sum(dim=1)
            elif reading.mean is not None and reading.deviation is not None:
                codes[name] = reading.mean.numpy()
                deviations[name] = reading.deviation.numpy()
        return Encoding(codes, probabilities, deviations, entropy.numpy())

    def reconstruct(self, images: NDArray[np.uint8], *, seed: int = 0) -> NDArray[np.uint8]:
        """What the generator draws of the codes that are read in images, with the same noise for all of them.

        What no code stands for is lost: these are not the images, but what the model says of them.

        Args:
            images: As for `encode`.
            seed: Of the noise.

        Returns:
            uint8, of the images' shape.

        Raises:
            UserError: as `encode`.
        """
        read = self.encode(images)
        noise = self.noise(1, seed=seed).repeat(len(images), 1)
        codes = {name: torch.from_numpy(np.asarray(values)) for name, values in read.codes.items()}
        bounded = {
            name: values.clamp(-1, 1) if values.is_floating_point() else values for name, values in codes.items()
        }
        return self._generate(noise, bounded)

    def digest(self) -> str:
        """SHA-256 over the names and values of the weights, in hex."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.networks.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def check_reads_codes(self) -> None:
        """Raises UserError where the model can not `encode`."""
        if not self.networks.reads_codes:
            raise UserError(f"this is a {self.config.kind}: it has no recognizer and can not encode images")

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the encoder sees in images: unit vectors, (count, 128).

        Raises:
            UserError: as `encode`, or the model has no encoder.
        """
        encoder = self._inference.encoder
        if encoder is None:
            raise UserError("this model has no encoder: there are no features to take from it")
        self._check(images)
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        features: NDArray[np.float32] = encoder.features_in_batches(to_network(pixels)).cpu().numpy()
        return features

    def log_likelihoods(
        self, images: NDArray[np.uint8], codes: Mapping[str, NDArray[Any]], *, batch_size: int = 500
    ) -> dict[str, NDArray[np.float32]]:
        """Log Q(c_i|x) in nats of given codes of images, by name, each (count,).

        Over samples and the codes they were made from, its mean plus the entropy of the code is the bound on their
        mutual information.

        Args:
            images: As for `encode`.
            codes: Of every code, one value an image.
            batch_size: As for `encode`.

        Raises:
            UserError: as `encode`, or a code is missing or has values that it does not take.
        """
        checked = {name: self._values(name, codes[name].tolist(), len(images)) for name in self.layout.codes}
        posterior = self._posterior(images, batch_size)
        return {name: values.numpy() for name, values in self.layout.log_likelihoods(posterior, checked).items()}

    # Naming.

    def value_name(self, code: str, value: int) -> str:
        """The name of a category if it has one; else its number, with the code's name where another is called so."""
        names = self.config.names.get(code, ())
        return names[value] if self.is_named(code, value) else _numbered(code, value, names)

    def value_names(self, code: str) -> list[str]:
        """The names of all values of a categorical code, as `value_name` gives them; raises UserError for another."""
        names = self.config.names.get(code, ("",) * self._categorical(code).size)
        taken = frozenset(names)
        return [name or _numbered(code, value, taken) for value, name in enumerate(names)]

    def is_named(self, code: str, value: int) -> bool:
        """Whether a category was given a name."""
        names = self.config.names.get(code)
        return bool(names and names[value])

    def values_of(self, code: str) -> list[int] | list[float]:
        """The values a traversal shows: every category in the order it is shown in, or ten values from -1 to 1."""
        spec = self.layout.code(code)
        if isinstance(spec, CategoricalCode):
            return list(self.config.order.get(code, range(spec.size)))
        return [round(float(value), 3) for value in np.linspace(-1, 1, 10)]

    def name_codes(self, names: Mapping[str, Sequence[str] | Mapping[int, str]]) -> None:
        """Names the values of categorical codes, in this object; `save` keeps them.

        Args:
            names: By code: one name for each value in order, or by number for some of them; "" leaves a value to its
                number. Two values may share a name, which says that they mean the same.

        Raises:
            UserError: an unknown or continuous code, a number out of range, or a wrong number of names.
        """
        named = dict(self.config.names)
        for code, given in names.items():
            spec = self._categorical(code)
            if isinstance(given, Mapping):
                values = list(self.config.names.get(code, [""] * spec.size))
                for number, name in given.items():
                    if not 0 <= number < spec.size:
                        raise UserError(f"code {code!r} has values 0 to {spec.size - 1}, not {number}")
                    values[number] = name
            else:
                values = list(given)
            if len(values) != spec.size or not all(isinstance(name, str) for name in values):
                raise UserError(f"code {code!r} needs {spec.size} names, one a value, not {values!r}")
            named[code] = tuple(values)
        self.config = self.config.model_copy(update={"names": named})

    def order_values(self, code: str, order: Sequence[int]) -> None:
        """Sets the order in which sheets, report and explorer show a code's values, in this object; `save` keeps it.

        Raises:
            UserError: an unknown or continuous code, or not each of its values once.
        """
        spec = self._categorical(code)
        if sorted(order) != list(range(spec.size)):
            raise UserError(f"the order of code {code!r} names each of its values 0 to {spec.size - 1} once")
        self.config = self.config.model_copy(update={"order": self.config.order | {code: tuple(order)}})

    def rename_code(self, code: str, name: str) -> None:
        """Calls a code by another name, such as what it has come to mean, in this object; `save` keeps it.

        Args:
            code: Its name so far.
            name: Its new name: up to 64 characters, none of them an equals sign, a slash either way, or unprintable.

        Raises:
            UserError: there is no such code, another has that name, or it is no name.
        """
        self.layout.code(code)
        if name != code and name in self.layout.codes:
            raise UserError(f"there is a code {name!r} already")
        if not is_code_name(name):
            raise UserError(f"{name!r} can not be the name of a code: 1 to 64 characters, none of them = / \\")
        codes = tuple(
            spec.model_copy(update={"name": name}) if spec.name == code else spec for spec in self.config.codes
        )
        names = {name if key == code else key: values for key, values in self.config.names.items()}
        order = {name if key == code else key: values for key, values in self.config.order.items()}
        self.adopt(self.config.model_copy(update={"codes": codes, "names": names, "order": order}))

    def name_codes_by_labels(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], label_names: Sequence[str], code: str | None = None
    ) -> None:
        """Names a categorical code's values after a few labelled images, matched one to one (Kuhn 1955).

        A value that none of the images with a label left for it is in keeps its number.

        Args:
            images: As for `encode`.
            labels: int64 (count,), indices into ``label_names``.
            label_names: One name a label.
            code: Which; None = the first categorical code.

        Raises:
            UserError: as `encode`, or there is no such categorical code.
        """
        spec = self._categorical(code) if code is not None else self.first_categorical()
        predicted = self.encode(images).codes[spec.name]
        mapping = hungarian_mapping(predicted, labels, spec.size, len(label_names))
        matched = contingency(predicted, labels, spec.size, len(label_names))
        names = [
            label_names[label] if label >= 0 and matched[value, label] else ""
            for value, label in enumerate(mapping.tolist())
        ]
        self.name_codes({spec.name: names})

    def first_categorical(self) -> CategoricalCode:
        """The code that files images; raises UserError for a model without categorical codes."""
        if not self.layout.categorical:
            raise UserError("this model has no categorical code")
        return self.layout.categorical[0]

    def _categorical(self, code: str) -> CategoricalCode:
        spec = self.layout.code(code)
        if not isinstance(spec, CategoricalCode):
            raise UserError(f"code {code!r} is continuous: it has no values to name")
        return spec

    # Showing.

    def shown_values(self, code: str, most: int | None = MOST_VALUES) -> list[Any]:
        """The values of a code in order; of a category with more than ``most`` of them so many, evenly chosen."""
        values = list(self.values_of(code))
        if most is None or len(values) <= most:
            return values
        return [values[place] for place in np.linspace(0, len(values) - 1, most).round().astype(int)]

    def value_labels(self, code: str, values: Sequence[Any]) -> list[str]:
        """What stands beside some values of a code: the names of categories, or the numbers."""
        if isinstance(self.layout.code(code), ContinuousCode):
            return [f"{value:+.2f}" for value in values]
        return [self.value_name(code, int(value)) for value in values]

    def sheet(
        self,
        code: str,
        *,
        rows: int = ROWS,
        seed: int = 0,
        codes: Mapping[str, Values] | None = None,
        most: int | None = MOST_VALUES,
    ) -> Image.Image:
        """A sheet of one code: a column for each of the `shown_values`, along a row the same noise and other codes.

        Args:
            code: Which.
            rows: How many.
            seed: Of noise and codes.
            codes: Others to hold, as in `traverse`.
            most: Values of a category that are shown, at most.

        Raises:
            UserError: as `traverse`.
        """
        values = self.shown_values(code, most)
        images = self.traverse(code, values=values, rows=rows, seed=seed, codes=codes)
        return figures.labelled_sheet(images, column_labels=self.value_labels(code, values), title=code)

    def __repr__(self) -> str:
        kind = "" if self.config.kind == "infogan" else f" ({self.config.kind})"
        told = f"{self.config.images_in_words}; {self.config.codes_in_words}; {self.parameter_count:,} parameters"
        return f"<InfoGAN{kind} of {told} on {self.device}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows: a sheet of the first category or other code, or samples where there are no codes."""
        code = next((spec.name for spec in [*self.layout.categorical, *self.layout.codes.values()]), None)
        if code is None:
            picture, shows = figures.image_grid(self.sample(DISPLAYED).images, 8), "Generated images."
        else:
            picture = self.sheet(code, rows=DISPLAYED_ROWS, most=DISPLAYED_VALUES)
            shows = f"Each column is a value of {code}; along a row everything else is held."
        return {"text/plain": repr(self), "text/html": html_page.figure(picture, shows, f"{shows} {repr(self)[1:-1]}.")}

    # Helpers.

    @property
    def _inference(self) -> Networks:
        """The networks as `folded` for inference, made anew when a weight has changed since."""
        weights = itertools.chain(self.networks.parameters(), self.networks.buffers())
        states = [(weight.data_ptr(), weight._version) for weight in weights]
        if self._folded is None or self._folded[0] != states:
            self._folded = states, fuse_batchnorm(self.networks)
        return self._folded[1]

    def _posterior(self, images: NDArray[np.uint8] | Shards, batch_size: int) -> Tensor:
        """The recognizer's output for images, checked, on the CPU."""
        self.check_reads_codes()
        self._check(images)
        pieces = [torch.empty(0, self.layout.posterior_size)]
        networks = self._inference
        with torch.inference_mode():
            for few in self._batches(len(images), batch_size):
                batch = torch.from_numpy(np.ascontiguousarray(images[few])).to(self.device)
                pieces.append(networks.posterior(to_network(batch)).cpu())
            read = torch.cat(pieces)
            return distributed.all_gather(read, len(images)) if self.shared else read

    def _check(self, images: NDArray[np.uint8] | Shards) -> None:
        """Raises UserError where images have another shape or type than the model reads."""
        expected = (self.config.channels, self.config.size, self.config.size)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise UserError(
                f"images are {images.dtype} of shape {images.shape}, but this model reads uint8 (count, "
                f"{', '.join(map(str, expected))})"
            )

    def _draw(self, count: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Noise and codes of ``count`` images."""
        if count < 1:
            raise UserError(f"the number of images must be at least 1, not {count}")
        if not 0 <= seed < 2**63:
            raise UserError(f"a seed is a number from 0 to 2^63 - 1, not {seed}")
        # Drawn in blocks of fixed size: one long draw would give image i other numbers for another count.
        block, noise, codes = 64, [], []
        for number in range(-(-count // block)):
            generator = torch.Generator().manual_seed(stream_seed(seed, number))
            noise.append(self.layout.sample_noise(block, generator))
            codes.append(self.layout.sample_codes(block, generator))
        joined = {name: torch.cat([piece[name] for piece in codes])[:count] for name in self.layout.codes}
        return torch.cat(noise)[:count], joined

    def _values(self, name: str, values: Values, count: int) -> Tensor:
        """The values a user gave for a code, checked, as a tensor of ``count``."""
        spec = self.layout.code(name)
        given: list[Any] = [values] * count if isinstance(values, int | float | str | np.number) else list(values)
        if len(given) != count:
            raise UserError(f"code {name!r} is given {len(given)} values for {count} images")
        if isinstance(spec, CategoricalCode):
            return torch.tensor([self._category(spec, value, place) for place, value in enumerate(given)])
        try:
            numbers = torch.tensor([float(value) for value in given])
        except (ValueError, OverflowError):
            numbers = torch.tensor([float("nan")])
        if not bool((numbers.abs() <= 1).all()):
            raise UserError(f"code {name!r} takes numbers from -1 to 1, not {values!r}")
        return numbers

    def _category(self, spec: CategoricalCode, value: Any, place: int) -> int:
        """The number of a value that is given by name or number, for the image at ``place``."""
        if isinstance(value, str):
            called = self.value_names(spec.name)
            if meant := [number for number, name in enumerate(called) if name == value]:
                return meant[place % len(meant)]
        try:
            number = int(value)
        except (ValueError, OverflowError):
            number = -1
        if not 0 <= number < spec.size or number != float(value):
            called = self.value_names(spec.name)
            names = f" or one of {', '.join(dict.fromkeys(called))}" if spec.name in self.config.names else ""
            raise UserError(f"code {spec.name!r} takes 0 to {spec.size - 1}{names}, not {value!r}")
        return number

    def _generate(self, noise: Tensor, codes: Mapping[str, Tensor], batch_size: int = 500) -> NDArray[np.uint8]:
        networks, pieces = self._inference, [np.empty((0, self.config.channels, *[self.config.size] * 2), np.uint8)]
        with torch.inference_mode():
            for few in self._batches(len(noise), batch_size):  # latents of all would be large: categories one-hot
                latents = self.layout.latents(noise[few], {name: values[few] for name, values in codes.items()})
                pieces.append(to_pixels(networks.generate(latents.to(self.device))))
        images = np.concatenate(pieces)
        return distributed.all_gather(torch.from_numpy(images), len(noise)).numpy() if self.shared else images

    def _batches(self, count: int, batch_size: int) -> Iterator[slice]:
        """The images of this worker, a batch at a time."""
        mine = distributed.shard_slice(count) if self.shared else slice(0, count)
        for first in range(mine.start, mine.stop, batch_size):
            yield slice(first, min(first + batch_size, mine.stop))


def _numbered(code: str, value: int, taken: Container[str]) -> str:
    """What a value without a name is called beside the names that are ``taken``."""
    return f"{code} {value}" if str(value) in taken else str(value)


def _lerp(start: Tensor, end: Tensor, way: Tensor) -> Tensor:
    return torch.lerp(start, end, way.unsqueeze(1))


def _slerp(start: Tensor, end: Tensor, way: Tensor) -> Tensor:
    """Spherical interpolation of (count, size) vectors at the fractions ``way``, (count,)."""
    cosine = torch.nn.functional.cosine_similarity(start, end).clamp(-1, 1)
    angle, way = torch.arccos(cosine).unsqueeze(1), way.unsqueeze(1)
    straight = angle < 1e-4  # where the sines below vanish together
    sine = torch.where(straight, 1, torch.sin(angle))
    first = torch.where(straight, 1 - way, torch.sin((1 - way) * angle) / sine)
    last = torch.where(straight, way, torch.sin(way * angle) / sine)
    return first * start + last * end

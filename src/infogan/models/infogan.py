"""A trained model: a generator controlled by named codes, and a recognizer that reads them.

Images come out as uint8 arrays of shape (count, channels, height, width) and go in as such arrays or any other kind of
images; a seed determines all randomness. Numbers may be NumPy's or torch's.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from infogan.config.load import Number, to_plain, whole_number
from infogan.data.batches import stream_seed, to_network, to_pixels
from infogan.data.dataset import ImageSet
from infogan.data.preprocess import ImageSpec, shown
from infogan.data.readers.in_memory import read_object
from infogan.data.shards import Shards, as_shards
from infogan.models import hub
from infogan.models.architectures import ImageShape
from infogan.models.naming import MAX_VALUES, CodeNames, CodeValues, FixedCodes
from infogan.models.networks import Networks, fuse_batchnorm
from infogan.models.results import MAX_DISPLAYED, Encoding, Samples, Verdict
from infogan.models.serialization import CONFIG, WEIGHTS, ModelConfig, read_config, read_model, trained_networks
from infogan.utils import distributed
from infogan.utils.determinism import neutral_state
from infogan.utils.errors import UserError, unknown_name
from infogan.utils.files import folder_lock, to_json, write_bytes
from infogan.utils.matching import contingency, hungarian_mapping

NOTEBOOK_ROWS, NOTEBOOK_VALUES = 4, 20  # of the sheet that a notebook shows
NoiseRows = Tensor | NDArray[Any] | Sequence[Sequence[Number]]
OUTPUT_TYPES = ("pil", "np", "pt")
SAMPLE_BLOCK = 64  # images whose noise and codes are drawn together


class InfoGAN(CodeNames, hub.HubMixin):
    """A trained model. A model trained as a gan or cgan has no recognizer and cannot `encode`.

    Args:
        config: Configuration of the model.
        networks: Its networks, with the weights to use (of a run: the averaged ones).

    Attributes:
        config: Configuration, which holds the names of codes and values.
        networks: The networks, in evaluation mode.
        sharded: Whether the processes of a distributed job split the work of every call. Each must make the same calls
            and gets the complete result.
        run_path: Folder of the run that trained the model, if it was loaded from there; `save_pretrained` then
            describes the training in the model card.

    Example:
        >>> model = InfoGAN.load("runs/00000-digits")
        >>> samples = model.sample(16, codes={"category": 3}, seed=1)
        >>> model.encode(samples.images).codes["category"]
    """

    def __init__(self, config: ModelConfig, networks: Networks) -> None:
        super().__init__(config)
        self.networks = networks.eval().requires_grad_(False)
        self.sharded = False
        self.run_path: Path | None = None
        self._fused: tuple[list[tuple[int, int]], Networks] | None = None
        self.sync_prior()

    @property
    def shape(self) -> ImageShape:
        """Shape of the images."""
        return self.config.shape

    @property
    def parameter_count(self) -> int:
        """Number of parameters of all networks."""
        return sum(parameter.numel() for parameter in self.networks.parameters())

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.networks.parameters()).device

    @neutral_state()
    def to(self, device: torch.device | str) -> "InfoGAN":
        """Move the weights to a device and return the model."""
        self.networks.to(device)
        return self

    @property
    def verdict(self) -> Verdict | None:
        """Whether to rely on the model, from the last evaluation of its run; None without a run or a verdict."""
        from infogan.training.run_dir import RunFolder

        evaluations = RunFolder(self.run_path).read_metrics() if self.run_path is not None else []
        entries = [evaluation["verdict"] for evaluation in evaluations if "verdict" in evaluation]
        return Verdict.parse(entries[-1]) if entries else None

    def digest(self) -> str:
        """Return the SHA-256 of the weights as `save` writes them, in hex."""
        return hashlib.sha256(self._weights_bytes()).hexdigest()

    def replace_config(self, config: ModelConfig) -> None:
        """Use another configuration of the same model, with other names and orders of codes and values."""
        super().replace_config(config)
        self.sync_prior()

    @neutral_state()
    def sync_prior(self) -> None:
        """Use the encoder's current estimate as the prior of its code, if that prior is learned."""
        if self.networks.encoder is not None:
            self.layout.set_prior(self.first_categorical().name, self.networks.encoder.prior)

    # Loading and saving.

    @classmethod
    @neutral_state()
    def load(cls, path: str | Path) -> "InfoGAN":
        """Load a model on the CPU.

        Args:
            path: A run folder, a model folder (``config.json`` and ``model.safetensors``), or ``hf://user/name`` as
                for `from_pretrained`.

        Raises:
            UserError: there is no model at ``path``, or it is damaged or of a newer format.

        Example:
            >>> model = InfoGAN.load("runs/00000-digits")
        """
        if isinstance(path, str) and path.startswith(hub.PREFIX):
            return cls.from_pretrained(path)
        if Path(path).parts[:1] == (hub.PREFIX.rstrip("/"),):  # a Path object drops one of the slashes
            raise UserError(
                f"{path} is not a folder; download the model first: hf download USER/NAME --local-dir FOLDER"
            )
        folder, config, networks = read_model(Path(path))
        model = cls(config, networks)
        if folder != Path(path):
            model.run_path = Path(path)
        return model

    @classmethod
    @neutral_state()
    def from_bytes(cls, config: bytes, weights: bytes) -> "InfoGAN":
        """Return the model from the contents of ``config.json`` and ``model.safetensors``, which a pickle holds."""
        parsed = ModelConfig.parse(config)
        return cls(parsed, trained_networks(parsed, safetensors.torch.load(weights)))

    def __reduce__(self) -> tuple[Any, ...]:
        return InfoGAN.from_bytes, (self._config_bytes(), self._weights_bytes())

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, each atomically.

        Raises:
            UserError: the folder is not writable.

        Example:
            >>> model.save("digits")
        """
        self.save_weights(folder)
        self.save_config(folder)

    def save_weights(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` only; raises UserError if the folder is not writable."""
        write_bytes(Path(folder) / WEIGHTS, self._weights_bytes())

    def save_config(self, folder: str | Path) -> None:
        """Write ``config.json`` only, which holds the names; raises UserError if the folder is not writable."""
        write_bytes(Path(folder) / CONFIG, self._config_bytes())

    def save_names(self, folder: str | Path, since: ModelConfig) -> None:
        """Write ``config.json`` unless another process changed it.

        Args:
            folder: Model folder of this model.
            since: Content of the file when the names were read.

        Raises:
            UserError: the file has changed since, and is left as it is; or it is not readable or writable.
        """
        with folder_lock(Path(folder)):
            if read_config(Path(folder)) != since:
                raise UserError(f"the names in {folder} were changed by another process; review them and retry")
            self.save_config(folder)

    def files(self, *, repo_id: str | None = None, license: str | None = None) -> dict[str, bytes]:
        """Return the files of a shared model folder by name: the model, its card ``README.md`` and the card's figures.

        Args:
            repo_id: Name on the Hub, ``user/name``; None = not known.
            license: Short name of the license, such as ``mit``; None = not stated.

        Raises:
            UserError: an invalid name or license, or the run is damaged or belongs to another model.
        """
        from infogan.reports import model_card

        hub.check_repo_id(repo_id)
        card = model_card.card_files(self, repo_id=repo_id, license=license)
        return {CONFIG: self._config_bytes(), WEIGHTS: self._weights_bytes(), **card}

    def _weights_bytes(self) -> bytes:
        tensors = {name: tensor.contiguous() for name, tensor in self.networks.state_dict().items()}
        return safetensors.torch.save(tensors)

    def _config_bytes(self) -> bytes:
        return to_json(self.config.model_dump(mode="json"))

    # Generating.

    @neutral_state()
    def sample(self, count: Number, *, codes: FixedCodes | None = None, seed: Number = 0) -> Samples:
        """Generate images from random noise and codes.

        Image i of a seed does not depend on ``count``.

        Args:
            count: Number of images.
            codes: Codes to fix, as for `parse_codes`; the others are random.
            seed: Random seed of noise and codes.

        Raises:
            UserError: a count or seed out of range, or as `parse_codes`.

        Example:
            >>> model.sample(16, codes={"category": 3, "knob1": -0.5}, seed=1).images.shape
            (16, 1, 28, 28)
        """
        return self._samples(*self._draw(count, seed, codes))

    def __call__(
        self,
        count: Number = 1,
        *,
        codes: FixedCodes | None = None,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
    ) -> Any:
        """Generate images with the interface of a diffusers pipeline; `sample` also returns their codes.

        Args:
            count: Number of images.
            codes: As for `sample`.
            generator: Source of randomness, which is advanced; None = the images of seed 0.
            output_type: ``pil``: a list of PIL images. ``np``: float32 (count, height, width, channels). ``pt``: a
                tensor (count, channels, height, width). Arrays and tensors are in [0, 1].

        Raises:
            UserError: as `sample`, or an unknown output type.
        """
        if output_type not in OUTPUT_TYPES:
            raise unknown_name("output_type", output_type, OUTPUT_TYPES)
        seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))
        images = self.sample(count, codes=codes, seed=seed).images
        if output_type == "pt":
            return torch.from_numpy(images.astype(np.float32) / 255)
        rows = np.ascontiguousarray((self.shown(images) if output_type == "pil" else images).transpose(0, 2, 3, 1))
        if output_type == "pil":
            return [Image.fromarray(row[:, :, 0] if row.shape[2] == 1 else row) for row in rows]
        return rows.astype(np.float32) / 255

    @neutral_state()
    def traverse(
        self,
        code: str,
        *,
        values: CodeValues | None = None,
        rows: Number = 10,
        codes: FixedCodes | None = None,
        seed: Number = 0,
    ) -> NDArray[np.uint8]:
        """Generate a grid in which one code varies along the columns; noise and other codes vary by row.

        Args:
            code: Name of the code to vary.
            values: One value per column; None = every category, or ten values from -1 to 1.
            rows: Number of rows.
            codes: Other codes to fix, as for `sample`: for all rows, or one value per row.
            seed: Random seed of noise and codes.

        Returns:
            uint8 (rows, columns, channels, height, width).

        Raises:
            UserError: as `sample`.

        Example:
            >>> model.traverse("category", rows=8).shape
            (8, 10, 1, 28, 28)
        """
        return self._grid(code, values, *self._draw(rows, seed, codes))

    @neutral_state()
    def lattice(
        self,
        across: str,
        down: str,
        *,
        columns: CodeValues | None = None,
        rows: CodeValues | None = None,
        codes: FixedCodes | None = None,
        seed: Number = 0,
    ) -> NDArray[np.uint8]:
        """Generate a grid in which one code varies along the columns and another along the rows.

        Noise and the other codes are those of the first sample of ``seed``.

        Args:
            across: Name of the code along the columns.
            down: Name of the code along the rows.
            columns: Values of ``across``; None as for `traverse`.
            rows: Values of ``down``; None as for `traverse`.
            codes: Other codes to fix, as for `sample`.
            seed: Random seed of noise and codes.

        Returns:
            uint8 (rows, columns, channels, height, width).

        Raises:
            UserError: as `sample`, or ``across`` and ``down`` are the same code.

        Example:
            >>> model.lattice("category", "knob1", rows=[-1, 0, 1]).shape
            (3, 10, 1, 28, 28)
        """
        if across == down:
            raise UserError(f"a lattice needs two different codes, not {across!r} twice")
        row_values = self._axis_values(down, rows)
        noise, first_codes = self._draw(1, seed, codes)
        row_codes = {name: value.expand(len(row_values)) for name, value in first_codes.items()}
        return self._grid(across, columns, noise.expand(len(row_values), -1), row_codes | {down: row_values})

    def _grid(
        self, code: str, values: CodeValues | None, noise: Tensor, row_codes: Mapping[str, Tensor]
    ) -> NDArray[np.uint8]:
        """Generate a grid of one column per value of a code, from the noise and the other codes of each row."""
        columns = self._axis_values(code, values)
        rows, width = len(noise), len(columns)
        codes = {name: values.repeat_interleave(width) for name, values in row_codes.items()}
        images = self._generate(noise.repeat_interleave(width, dim=0), codes | {code: columns.repeat(rows)})
        return images.reshape(rows, width, *images.shape[1:])

    @neutral_state()
    def interpolate(
        self, start: Number, end: Number, *, steps: Number = 10, codes: FixedCodes | None = None
    ) -> Samples:
        """Interpolate between the first samples of two seeds.

        Noise is interpolated as in `blended_noise`, continuous codes linearly; a category switches half way.

        Args:
            start: Seed of the first image.
            end: Seed of the last image.
            steps: Number of images, at least 2.
            codes: Codes to fix, as for `sample`.

        Raises:
            UserError: as `sample`, or fewer than two steps.

        Example:
            >>> model.interpolate(0, 1, steps=5, codes={"category": 3}).images.shape
            (5, 1, 28, 28)
        """
        steps = whole_number(steps, "the number of steps of an interpolation", 2)
        (start_noise, start_codes), (end_noise, end_codes) = self._draw(1, start), self._draw(1, end)
        fraction = torch.linspace(0, 1, steps)
        noise = self.blended_noise(start_noise.expand(steps, -1), end_noise.expand(steps, -1), fraction)
        blended_codes = {
            name: torch.lerp(value, end_codes[name], fraction)
            if value.is_floating_point()
            else torch.where(fraction < 0.5, value, end_codes[name])
            for name, value in start_codes.items()
        }
        return self._samples(noise, blended_codes | self.parse_codes(codes, steps))

    @neutral_state()
    def noise(self, count: Number, *, seed: Number = 0) -> Tensor:
        """Return the noise of the first ``count`` samples of a seed, (count, noise); raises UserError as `sample`."""
        return self._draw(count, seed)[0]

    @neutral_state()
    def blended_noise(self, start: NoiseRows, end: NoiseRows, way: Tensor | NDArray[Any] | Sequence[Number]) -> Tensor:
        """Return noise between two noises, row by row: (count, noise).

        Normal noise follows the great circle (White 2016), uniform noise the straight line.

        Args:
            start: (count, noise).
            end: (count, noise).
            way: (count,), fractions from 0, the start, to 1, the end.

        Raises:
            UserError: as `generate`.
        """
        fraction = torch.as_tensor(way, dtype=torch.get_default_dtype())
        return self.layout.interpolate_noise(self._to_noise(start), self._to_noise(end), fraction)

    @neutral_state()
    def generate(self, noise: NoiseRows, codes: FixedCodes) -> NDArray[np.uint8]:
        """Return the images of the given noise and codes.

        Args:
            noise: (count, noise).
            codes: Values of every code, as for `parse_codes`.

        Returns:
            uint8 (count, channels, height, width).

        Raises:
            UserError: as `parse_codes`, a code is missing, or the noise has another shape or is not finite.

        Example:
            >>> images = model.generate(model.noise(2), {"category": [3, 5], "knob1": 0.5, "knob2": 0})
        """
        noise = self._to_noise(noise)
        return self._generate(noise, self._parse_every_code(codes, len(noise)))

    def _to_noise(self, noise: NoiseRows) -> Tensor:
        """Return noise as a tensor of the default type, (count, noise)."""
        rows = torch.as_tensor(noise, dtype=torch.get_default_dtype()).detach().cpu()
        if rows.ndim != 2 or rows.shape[1] != self.config.noise.size or not rows.isfinite().all():
            form = f"finite numbers of shape (count, {self.config.noise.size})"
            raise UserError(
                f"the noise has the shape {tuple(rows.shape)} or numbers that are not finite; expected {form}"
            )
        return rows

    def _parse_every_code(self, codes: FixedCodes, count: int) -> dict[str, Tensor]:
        """Return what `parse_codes` does, in the order of the codes; raise UserError if one is missing."""
        if missing := [name for name in self.layout.codes if name not in codes]:
            raise UserError(f"code {missing[0]!r} has no value; pass a value for every code")
        return self.parse_codes(codes, count)

    def _samples(self, noise: Tensor, codes: Mapping[str, Tensor]) -> Samples:
        return Samples(self._generate(noise, codes), {name: values.numpy() for name, values in codes.items()})

    def _generate(self, noise: Tensor, codes: Mapping[str, Tensor], batch_size: int = 500) -> NDArray[np.uint8]:
        networks, images = self._inference, [np.empty((0, self.config.channels, *[self.config.size] * 2), np.uint8)]
        with torch.inference_mode():
            for batch in self._batches(len(noise), batch_size):  # one-hot categories of all images would be large
                latents = self.layout.latents(noise[batch], {name: values[batch] for name, values in codes.items()})
                images.append(to_pixels(networks.generate(latents.to(self.device))))
        joined = np.concatenate(images)
        return distributed.all_gather(torch.from_numpy(joined), len(noise)).numpy() if self.sharded else joined

    def _draw(self, count: Number, seed: Number, fixed: FixedCodes | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return random noise and codes of ``count`` images, with some of the codes fixed."""
        count = whole_number(count, "the number of images", 1)
        seed = whole_number(seed, "a seed", 0, 2**63 - 1)
        # In blocks of a fixed size: in one long draw, the numbers of image i would depend on the count.
        noise, codes = [], []
        for block in range(-(-count // SAMPLE_BLOCK)):
            generator = torch.Generator().manual_seed(stream_seed(seed, block))
            noise.append(self.layout.sample_noise(SAMPLE_BLOCK, generator))
            codes.append(self.layout.sample_codes(SAMPLE_BLOCK, generator))
        joined = {name: torch.cat([block_codes[name] for block_codes in codes])[:count] for name in self.layout.codes}
        return torch.cat(noise)[:count], joined | self.parse_codes(fixed, count)

    def _axis_values(self, code: str, values: CodeValues | None) -> Tensor:
        """Return the values of a code along an axis of a grid; None = all values on display."""
        axis = to_plain(self.values_of(code) if values is None else values)
        return self.parse_codes({code: axis}, len(axis) if isinstance(axis, list) else 1)[code]

    # Encoding.

    @neutral_state()
    def encode(self, images: Any, *, batch_size: Number = 500) -> Encoding:
        """Predict the codes of images.

        Args:
            images: What `infogan.fit` takes: an array or tensor, uint8 or float in [0, 1], of shape (count, height,
                width), (count, channels, height, width) or (count, height, width, channels); samples; a list, Dataset
                or DataFrame of images; one Pillow image; or a name, path or address. Images of another size or other
                channels are converted. Arrays and shards of the model's shape may exceed the memory.
            batch_size: Images per batch; does not change the result.

        Returns:
            One prediction per image, in order.

        Raises:
            UserError: the model has no recognizer; or the images have another shape or type, or one of them cannot be
                used, which the error names.

        Example:
            >>> encoding = model.encode(images)
            >>> encoding.codes["category"], encoding.probabilities["category"], encoding.entropy
        """
        self.require_recognizer()
        images = self._read_images(images)
        codes: dict[str, NDArray[Any]] = {}
        probabilities, deviations = {}, {}
        entropy = torch.zeros(len(images))
        for name, parameters in self.layout.split_posterior(self._posterior(images, batch_size)).items():
            if "probabilities" in parameters:
                probabilities[name] = parameters["probabilities"].numpy()
                codes[name] = probabilities[name].argmax(axis=1)
                entropy += torch.special.entr(parameters["probabilities"]).sum(dim=1)
            else:
                codes[name], deviations[name] = parameters["mean"].numpy(), parameters["deviation"].numpy()
        return Encoding(codes, probabilities, deviations, entropy.numpy())

    @neutral_state()
    def reconstruct(self, images: Any, *, seed: Number = 0) -> NDArray[np.uint8]:
        """Generate images from the codes that are predicted for images, with the same noise for all of them.

        What no code represents is lost.

        Args:
            images: As for `encode`.
            seed: Random seed of the noise.

        Returns:
            uint8 (count, channels, height, width).

        Raises:
            UserError: as `encode`.

        Example:
            >>> reconstructions = model.reconstruct(images)
        """
        encoding = self.encode(images)
        noise = self.noise(1, seed=seed).repeat(len(encoding.entropy), 1)
        codes = {name: torch.from_numpy(np.asarray(values)) for name, values in encoding.codes.items()}
        clipped = {name: code.clamp(-1, 1) if code.is_floating_point() else code for name, code in codes.items()}
        return self._generate(noise, clipped)

    @neutral_state()
    def log_likelihoods(
        self, images: Any, codes: FixedCodes, *, batch_size: Number = 500
    ) -> dict[str, NDArray[np.float32]]:
        """Return log Q(c_i|x) in nats of the given codes of images, by name, each (count,).

        Over samples and their codes, the mean plus the entropy of the code is a lower bound on their mutual
        information.

        Args:
            images: As for `encode`.
            codes: One value per image, for every code.
            batch_size: As for `encode`.

        Raises:
            UserError: as `encode` and `parse_codes`, or a code is missing.
        """
        self.require_recognizer()
        images = self._read_images(images)
        parsed = self._parse_every_code(codes, len(images))
        likelihoods = self.layout.log_likelihoods(self._posterior(images, batch_size), parsed)
        return {name: values.numpy() for name, values in likelihoods.items()}

    @neutral_state()
    def features(self, images: Any) -> NDArray[np.float32]:
        """Return the encoder's features of images: unit vectors, (count, 128).

        Args:
            images: As for `encode`.

        Raises:
            UserError: as `encode`, or the model has no encoder.
        """
        encoder = self._inference.encoder
        if encoder is None:
            raise UserError("this model has no encoder, so it has no features of images")
        pixels = torch.from_numpy(np.ascontiguousarray(self._read_images(images))).to(self.device)
        features: NDArray[np.float32] = encoder.features_in_batches(to_network(pixels)).cpu().numpy()
        return features

    def require_recognizer(self) -> None:
        """Raise UserError if the model cannot `encode`."""
        if not self.networks.reads_codes:
            raise UserError(f"this model is a {self.config.kind}; it has no recognizer and cannot encode images")

    def name_codes_by_labels(
        self, images: Any, labels: Any, label_names: Sequence[str], code: str | None = None
    ) -> None:
        """Name the values of a categorical code by a few labelled images, matched one to one (Kuhn 1955).

        A value keeps its number if no image of its label is in it.

        Args:
            images: As for `encode`.
            labels: One per image, indices into ``label_names``.
            label_names: One name per label.
            code: Name of the code; None = the first categorical code.

        Raises:
            UserError: as `encode`, there is no such categorical code, or a label is missing or has no name.

        Example:
            >>> model.name_codes_by_labels(images, labels, ["cat", "dog"])
        """
        spec = self._categorical(code) if code is not None else self.first_categorical()
        predicted = self.encode(images).codes[spec.name]
        labels = np.array([whole_number(label, "a label", 0, len(label_names) - 1) for label in labels], np.int64)
        if len(labels) != len(predicted):
            raise UserError(f"there are {len(labels)} labels for {len(predicted)} images; pass one per image")
        mapping = enumerate(hungarian_mapping(predicted, labels, spec.size, len(label_names)).tolist())
        counts = contingency(predicted, labels, spec.size, len(label_names))
        names = [label_names[label] if label >= 0 and counts[value, label] else "" for value, label in mapping]
        self.name_codes({spec.name: names})

    def shown(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what is shown of images, (..., channels, height, width): if they are not grey or RGB, three bands.

        Example:
            >>> model.shown(model.sample(16).images).shape  # of a model of 5 channels
            (16, 3, 64, 64)
        """
        return shown(images, self.config.reading.bands)

    def _posterior(self, images: NDArray[np.uint8] | Shards, batch_size: Number) -> Tensor:
        """Return the recognizer's output for images of the model's shape, on the CPU."""
        batch_size = whole_number(batch_size, "the batch size", 1)
        posteriors = [torch.empty(0, self.layout.posterior_size)]
        networks = self._inference
        with torch.inference_mode():
            for batch in self._batches(len(images), batch_size):
                pixels = torch.from_numpy(np.ascontiguousarray(images[batch])).to(self.device)
                posteriors.append(networks.posterior(to_network(pixels)).cpu())
            posterior = torch.cat(posteriors)
            return distributed.all_gather(posterior, len(images)) if self.sharded else posterior

    def _read_images(self, images: Any) -> NDArray[np.uint8] | Shards:
        """Return images of any kind as uint8 (count, channels, height, width), of the model's shape."""
        channels, size = self.shape
        pixels = images.images if isinstance(images, ImageSet) else images
        is_array = isinstance(pixels, np.ndarray) or as_shards(pixels) is not None
        if is_array and pixels.dtype == np.uint8 and pixels.shape[1:] == (channels, size, size):
            return pixels
        reading = self.config.reading
        return read_object(images, ImageSpec(size, channels, reading.shape, reading.value_range))

    def _batches(self, count: int, batch_size: int) -> Iterator[slice]:
        """Yield the batches of this process."""
        shard = distributed.shard_slice(count) if self.sharded else slice(0, count)
        for first in range(shard.start, shard.stop, batch_size):
            yield slice(first, min(first + batch_size, shard.stop))

    @property
    def _inference(self) -> Networks:
        """The networks with batch norm fused, rebuilt when a weight has changed."""
        weights = self.networks.state_dict(keep_vars=True).values()
        versions = [(weight.data_ptr(), weight._version) for weight in weights]
        if self._fused is None or self._fused[0] != versions:
            self._fused = versions, fuse_batchnorm(self.networks)
        return self._fused[1]

    # Display.

    def sheet(
        self,
        code: str,
        *,
        rows: Number = 10,
        seed: Number = 0,
        codes: FixedCodes | None = None,
        limit: Number | None = MAX_VALUES,
    ) -> Image.Image:
        """Draw a traversal of one code: a labelled column per value; noise and other codes vary by row.

        Args:
            code: Name of the code.
            rows: Number of rows.
            seed: Random seed of noise and codes.
            codes: Other codes to fix, as for `traverse`.
            limit: Maximum number of values of a category; None = all.

        Raises:
            UserError: as `traverse`.

        Example:
            >>> model.sheet("knob1", rows=6).save("knob1.png")
        """
        from infogan.reports import figures

        values = self.display_values(code, limit)
        images = self.traverse(code, values=values, rows=rows, seed=seed, codes=codes)
        labels = self.value_labels(code, values)
        return figures.labelled_sheet(self.shown(images), column_labels=labels, title=code)

    def __repr__(self) -> str:
        kind = "" if self.config.kind == "infogan" else f" ({self.config.kind})"
        summary = f"{self.config.image_summary}; {self.config.code_summary}; {self.parameter_count:,} parameters"
        return f"<InfoGAN{kind} of {summary} on {self.device}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return a sheet of the first code, categories first, or samples if there is no code, for notebooks."""
        from infogan.reports import figures, html_page

        code = next((spec.name for spec in [*self.layout.categorical, *self.layout.codes.values()]), None)
        if code is None:
            figure, caption = figures.image_grid(self.sample(MAX_DISPLAYED).images, 8), "Generated images."
        else:
            figure = self.sheet(code, rows=NOTEBOOK_ROWS, limit=NOTEBOOK_VALUES)
            caption = f"Each column is a value of {code}; noise and other codes vary by row."
        html = html_page.figure(figure, caption, f"{caption} {repr(self)[1:-1]}.")
        return {"text/plain": repr(self), "text/html": html}

"""A scikit-learn estimator: a clusterer that gives a probability, and a transformer to codes and back.

It holds a model and trains it as `fitting.fit` does, but in a folder that does not last. What it takes are arrays, a
row or an image a sample; everything that scikit-learn does with estimators (``clone``, ``Pipeline``, ``GridSearchCV``,
``set_output``) goes by its own rules.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors.torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from infogan.api.resolve import Plan, compose, pick_device, validate
from infogan.api.train_run import plan
from infogan.config.load import build
from infogan.config.migrate import migrate_config
from infogan.config.presets import PRESETS
from infogan.config.schema import Config
from infogan.data.batches import check_enough_images
from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.preprocess import SIZES
from infogan.models.infogan import InfoGAN
from infogan.models.results import Encoding
from infogan.models.serialization import ModelConfig
from infogan.training.callbacks import Callback
from infogan.training.checkpoint import Checkpoint, load_latest_checkpoint, save_checkpoint
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.utils.errors import UserError

SEEDS = 2**31 - 1


def _has_one_stage(estimator: "InfoGANEstimator") -> bool:
    if len(PRESETS.get(estimator.recipe, {}).get("stages", ())) == 1:
        return True
    raise AttributeError(f"partial_fit needs a recipe of one stage, such as plain; {estimator.recipe!r} has several")


class _OnStep(Callback):
    def __init__(self, on_step: Callable[[int, int], None], steps: int) -> None:
        self._on_step, self._steps = on_step, steps

    def on_step_end(self, step: int) -> None:
        self._on_step(step, self._steps)


class InfoGANEstimator(ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learns categories and knobs from images, without labels.

    Args:
        n_categories: How many kinds there are.
        n_continuous: How many knobs.
        recipe: ``robust``, ``plain``, ``paper``, ``post`` or ``disentangle``.
        budget: Seconds that `fit` may take. None: as the recipe says, four minutes for ``robust``.
        steps: Its length by steps instead; also that of each `partial_fit`, which takes one pass over its images
            without.
        image_shape: (channels, height, width) of the images in flat rows. None: grey squares, or RGB ones, if the
            length of a row is that of one.
        value_range: The values of black and white. None: 0 and 255 of uint8, else the least and the greatest value that
            `fit` sees.
        pad: Whether rows of any length are taken, laid into the smallest image that holds them, with black behind.
        options: Any option of a run, by dotted name: ``{"train.batch_size": 64}``.
        random_state: Seed, ``RandomState``, or None: another run each time.
        device: ``cpu``, ``cuda`` or ``auto``.
        on_step: Called with the number of steps done, and of all steps.

    Attributes:
        model_: The `InfoGAN`.
        labels_: int64 (samples,), the category of each image that was learned from.
        history_: What training told, as in ``stats.jsonl``.
        n_features_in_: Length of a row, or of a flattened image.
        image_shape_: (channels, size, size) that rows are laid out as.
        value_range_: The values of black and white.
    """

    def __init__(
        self,
        n_categories: int = 10,
        *,
        n_continuous: int = 2,
        recipe: str = "robust",
        budget: float | None = None,
        steps: int | None = None,
        image_shape: tuple[int, int, int] | None = None,
        value_range: tuple[float, float] | None = None,
        pad: bool = False,
        options: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "cpu",
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self.n_categories = n_categories
        self.n_continuous = n_continuous
        self.recipe = recipe
        self.budget = budget
        self.steps = steps
        self.image_shape = image_shape
        self.value_range = value_range
        self.pad = pad
        self.options = options
        self.random_state = random_state
        self.device = device
        self.on_step = on_step

    # Training.

    def fit(self, X: ArrayLike, y: object = None) -> "InfoGANEstimator":
        """Train on images.

        Args:
            X: (samples, features), (samples, height, width), (samples, channels, height, width) or (samples, height,
                width, channels), numbers.
            y: Ignored.

        Warns:
            ConvergenceWarning: The budget is too short for a good model on this machine.

        Raises:
            ValueError: X has another shape, or values that are not finite or not in ``value_range``.
        """
        images = self._training_images(X)
        length = {name: value for name, value in (("budget", self.budget), ("steps", self.steps)) if value is not None}
        plan = self._resolve(images, length)
        if plan.warning:
            warnings.warn(plan.warning, ConvergenceWarning, stacklevel=2)
        self._train(plan.config, images, None)
        return self

    @available_if(_has_one_stage)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: ArrayLike, y: object = None) -> "InfoGANEstimator":
        """Continue to train, on these images; for recipes of one stage.

        Each call makes ``steps`` steps, or one pass over the images. Learning rates do not decay, because the end is
        not known.

        Args:
            X: As for `fit`; the first call fixes shape and range.
            y: Ignored.

        Raises:
            ValueError: As `fit`.
        """
        state = getattr(self, "_state", None)
        if state is None:
            images = self._training_images(X)
            config = self._resolve(images, {"steps": 1}).config
        else:
            images = self._as_images(X)
            config = build(migrate_config(json.loads(state["config"])))
            check_enough_images(images, *config.largest_batch)
        updates = [update.model_copy(update={"decay": "none"}) for update in config.stages[0].updates]
        stage = config.stages[0].model_copy(update={"updates": tuple(updates)})
        new_steps = self.steps or math.ceil(len(images) / config.train.batch_size)
        steps = new_steps + (int(state["step"]) if state is not None else 0)
        train_settings = config.train.model_copy(update={"steps": steps})
        self._train(config.model_copy(update={"stages": (stage,), "train": train_settings}), images, state)
        return self

    def _resolve(self, images: ImageSet, length: dict[str, Any]) -> Plan:
        """Resolve the options of a run; a default batch is made small enough for the images."""
        seed = int(check_random_state(self.random_state).randint(SEEDS))
        assignments = [f"{name}={json.dumps(value)}" for name, value in (self.options or {}).items()]
        codes: dict[str, Any] = {"categorical": [self.n_categories], "continuous": self.n_continuous}
        layers = [{"train": {"seed": seed, **length}}]
        options = compose(self.recipe, layers, assignments, **codes)
        if "train.batch_size" not in (self.options or {}):
            largest, factor = validate(options).largest_batch
            if len(images) < largest:
                assignments.append(f"train.batch_size={max(1, len(images) // factor)}")
                options = compose(self.recipe, layers, assignments, **codes)
        return plan(options, images=images, device=pick_device(self.device))

    def _train(self, config: Config, images: ImageSet, state: dict[str, Any] | None) -> None:
        """Train, from a state of `partial_fit` if there is one, and keep model, history, labels and state."""
        with TemporaryDirectory() as folder:
            run = RunFolder.at(Path(folder))
            if state is not None:
                tensors = safetensors.torch.load(state["tensors"])
                save_checkpoint(run.checkpoints, Checkpoint(int(state["step"]), 0.0, tensors))
            callbacks = [_OnStep(self.on_step, config.train.steps)] if self.on_step is not None else []
            model = train(config, images, run, device=pick_device(self.device), callbacks=callbacks)
            checkpoint, _ = load_latest_checkpoint(run.checkpoints)
            self.history_ = [*(state or {}).get("history", ()), *run.read_stats()]
        self.model_ = model.to("cpu")
        assert checkpoint is not None  # training ends with one
        if len(config.stages) == 1:
            tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
            self._state = {
                "config": config.model_dump_json(),
                "step": config.train.steps,
                "tensors": safetensors.torch.save(tensors),
                "history": self.history_,
            }
        self.labels_ = self._categories(self.model_.encode(images.images))

    # Reading.

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The category of each image, (samples,); raises ValueError as `fit`, or for other images than it saw."""
        return self._categories(self._read(X))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The probability of each category, (samples, categories); raises as `predict`."""
        return self._probabilities(self._read(X))

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """The codes of images: the probability of each category, then each knob in [-1, 1].

        Returns:
            float64 (samples, n_categories + n_continuous); `get_feature_names_out` names the columns.

        Raises:
            ValueError: as `predict`.
        """
        read = self._read(X)
        knobs = [read.codes[name] for name in self.model_.layout.codes if name in read.deviations]
        return np.column_stack([self._probabilities(read), *knobs]).astype(np.float64)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Images of codes: of the most probable category of each row and its knobs, with the same noise for all.

        Args:
            X: (samples, n_categories + n_continuous), as `transform` gives them; knobs beyond [-1, 1] are taken back.

        Returns:
            (samples, features), with values between black and white.

        Raises:
            ValueError: another number of columns.
        """
        check_is_fitted(self)
        codes = np.asarray(X, np.float64)
        wide = self.n_categories + self.n_continuous
        if codes.ndim != 2 or codes.shape[1] != wide:
            raise UserError(f"codes have the shape {codes.shape}: allowed is (samples, {wide})")
        given: dict[str, Any] = {self._code: codes[:, : self.n_categories].argmax(axis=1).tolist()}
        knobs = [code.name for code in self.model_.config.codes if code.name != self._code]
        for place, name in enumerate(knobs, start=self.n_categories):
            given[name] = np.clip(codes[:, place], -1, 1).tolist()
        noise = self.model_.noise(1, seed=0).repeat(len(codes), 1)
        return self._as_rows(self.model_.generate(noise, given))

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """How sure the category of each image is: log Q(c|x) of the most probable one, in nats, (samples,).

        0 is sure. It is no density of images, of which a GAN has none. Raises as `predict`.
        """
        return np.asarray(np.log(self._probabilities(self._read(X)).max(axis=1)))

    def score(self, X: ArrayLike, y: object = None) -> float:
        """The information that the category has about these images, in nats: H(c) - H(c|x) (Krause et al. 2010).

        It is high where all values are used and each image's is sure. Labels are not looked at. Raises as `predict`.
        """
        probabilities = self._probabilities(self._read(X))

        def entropy(of: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(-(of * np.log(np.clip(of, 1e-12, None))).sum(axis=-1))

        return float(entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean())

    def sample(self, n_samples: int = 1) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Draws images, as ``random_state`` says.

        Returns:
            The images, (n_samples, features), and the category that each was made from, (n_samples,).

        Raises:
            ValueError: fewer than one.
        """
        check_is_fitted(self)
        drawn = self.model_.sample(n_samples, seed=int(check_random_state(self.random_state).randint(SEEDS)))
        return self._as_rows(drawn.images), drawn.codes[self._code]

    def get_feature_names_out(self, input_features: object = None) -> NDArray[Any]:
        """The names of the columns of `transform`."""
        check_is_fitted(self)
        categories = [f"{self._code}_{value}" for value in range(self.n_categories)]
        knobs = [code.name for code in self.model_.config.codes if code.name != self._code]
        return np.array([*categories, *knobs], dtype=object)

    @property
    def _code(self) -> str:
        return self.model_.first_categorical().name

    def _read(self, X: ArrayLike) -> Encoding:
        check_is_fitted(self)
        return self.model_.encode(self._as_images(X).images)

    def _probabilities(self, read: Encoding) -> NDArray[np.float64]:
        found = read.probabilities[self._code].astype(np.float64)
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def _categories(self, read: Encoding) -> NDArray[np.int64]:
        return np.asarray(read.codes[self._code], np.int64)

    # Rows to images and back.

    def _training_images(self, X: ArrayLike) -> ImageSet:
        """The images of X, after which later ones go."""
        rows, shape = self._rows(X, reset=True)
        self.image_shape_ = shape or self._shape_of(rows.shape[1])
        if self.value_range is not None:
            low, high = map(float, self.value_range)
        elif rows.dtype == np.uint8:
            low, high = 0.0, 255.0
        else:
            low, high = float(rows.min()), float(rows.max())
        if not low < high:
            high = low + 1.0
        self.value_range_ = (low, high)
        self._whole = rows.dtype == np.uint8
        if hasattr(self, "_state"):
            del self._state
        return self._scaled(rows)

    def _as_images(self, X: ArrayLike) -> ImageSet:
        rows, shape = self._rows(X, reset=False)
        if shape is not None and shape != self.image_shape_:
            raise UserError(f"X has images of {shape}, but was learned from ones of {self.image_shape_}")
        return self._scaled(rows)

    def _rows(self, X: Any, *, reset: bool) -> tuple[NDArray[Any], tuple[int, int, int] | None]:
        """X as rows of numbers, checked, and the shape of its images where it says so itself."""
        shape = None
        if getattr(X, "ndim", 2) in (3, 4):
            X = np.asarray(X)
            if X.ndim == 3:
                X = X[:, None]
            elif X.shape[1] not in (1, 3) and X.shape[3] in (1, 3):
                X = X.transpose(0, 3, 1, 2)
            shape = (int(X.shape[1]), int(X.shape[2]), int(X.shape[3]))
            self._check_shape(shape)
            X = X.reshape(len(X), -1)
        least = 2 if reset else 1
        kinds = [np.float64, np.float32, np.uint8]  # the first is what others, such as int64, become
        return validate_data(self, X, reset=reset, dtype=kinds, ensure_min_samples=least), shape

    def _shape_of(self, features: int) -> tuple[int, int, int]:
        """The shape of an image in a row of so many numbers."""
        if self.image_shape is not None:
            channels, height, width = self.image_shape
            self._check_shape((channels, height, width))
            if channels * height * width != features:
                raise UserError(f"X has {features} features, and image_shape is {self.image_shape}")
            return channels, height, width
        for channels in (1, 3):
            side = math.isqrt(features // channels)
            if channels * side**2 == features and side in SIZES:
                return channels, side, side
        side = max(SIZES.start, math.ceil(math.sqrt(features)))
        if self.pad and side in SIZES:
            return 1, side, side
        raise UserError(
            f"X has {features} features, which are no square image of {SIZES.start} to {SIZES.stop - 1} pixels, grey "
            "or RGB: pass image_shape, or pad=True to lay them into one"
        )

    def _check_shape(self, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        if channels not in (1, 3) or height != width or height not in SIZES:
            raise UserError(
                f"X has images of the shape {shape}: allowed are 1 or 3 channels and squares of {SIZES.start} to "
                f"{SIZES.stop - 1} pixels"
            )

    def _scaled(self, rows: NDArray[Any]) -> ImageSet:
        low, high = self.value_range_
        if self.value_range is not None and rows.size and not (rows.min() >= low and rows.max() <= high):
            raise UserError(
                f"X has values from {rows.min():g} to {rows.max():g}; value_range allows {low:g} to {high:g}"
            )
        scaled = np.zeros((len(rows), math.prod(self.image_shape_)), np.uint8)
        scaled[:, : rows.shape[1]] = np.rint(np.clip((rows - low) / (high - low), 0, 1) * 255)
        return ImageSet(scaled.reshape(len(rows), *self.image_shape_), NumberedNames(len(rows)), "X")

    def _as_rows(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        rows = images.reshape(len(images), -1)[:, : self.n_features_in_]
        low, high = self.value_range_
        values = low + rows / 255 * (high - low)
        return np.rint(values).astype(np.uint8) if self._whole else values

    # Keeping.

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # codes are what they are, whatever the pixels were
        tags.non_deterministic = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle of the estimator holds: numbers, bytes and words, no object of PyTorch's."""
        state: dict[str, Any] = dict(super().__getstate__())
        if model := state.pop("model_", None):
            tensors = {name: tensor.contiguous() for name, tensor in model.networks.state_dict().items()}
            state["_model"] = (model.config.model_dump_json(), safetensors.torch.save(tensors))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        kept = state.pop("_model", None)
        super().__setstate__(state)
        if kept is not None:
            self.model_ = InfoGAN.from_tensors(ModelConfig.parse(kept[0].encode()), safetensors.torch.load(kept[1]))

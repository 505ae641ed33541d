"""A scikit-learn estimator: it clusters images, with probabilities, and transforms them to latent codes and back.

It trains a model as `api.fit.fit` does, but in a temporary folder.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from infogan.api.features import vectors_of
from infogan.api.resolve import Plan, compose, without_none
from infogan.api.train_run import plan
from infogan.config.load import Number, to_plain, whole_number
from infogan.config.presets import PRESETS
from infogan.config.schema import Config
from infogan.data.batches import check_enough_images
from infogan.data.dataset import ImageSet, NumberedNames
from infogan.data.preprocess import MAX_CHANNELS, SIZES, ImageSpec, channels_first, check_value_range
from infogan.data.readers.in_memory import as_numbers
from infogan.evaluation.evaluate import evaluate
from infogan.evaluation.metric_groups import EvaluationInputs
from infogan.models.encoder import Encoder
from infogan.models.results import Encoding, Verdict
from infogan.training.callbacks import Callback
from infogan.training.checkpoint import latest_checkpoint_path, load_first_stage
from infogan.training.loop import train
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import Teacher, fit_teacher
from infogan.utils.determinism import neutral_state
from infogan.utils.devices import pick_device
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes

SEEDS = 2**31 - 1
GIVEN = "given"  # as the source of features that are not named
VERDICT_SAMPLES = 2_000  # images that the verdict is based on
RANGE_FACTOR = 8  # values that span so many times the range of the training images, or so little of it, have another
Shape = tuple[int, int, int]  # channels, height and width


def _has_one_stage(estimator: "InfoGANEstimator") -> bool:
    recipe = estimator.recipe
    if len(PRESETS.get(recipe, {}).get("stages", ())) == 1:
        return True
    raise AttributeError(f"partial_fit needs a recipe of one stage, such as plain; {recipe!r} has several stages")


class _OnStep(Callback):
    def __init__(self, on_step: Callable[[int, int], None], steps: int) -> None:
        self._on_step, self._steps = on_step, steps

    def on_step_end(self, step: int) -> None:
        self._on_step(step, self._steps)


class InfoGANEstimator(ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Finds categories and continuous factors in unlabelled images.

    Numbers may be NumPy's or torch's.

    Args:
        n_categories: Number of categories.
        n_continuous: Number of continuous codes (knobs).
        recipe: ``robust``, ``plain``, ``paper``, ``post`` or ``disentangle``.
        budget: Seconds that `fit` may take. None: as in the recipe.
        steps: Length of `fit` in steps instead, and of each `partial_fit`, which otherwise passes once over its images.
        image_shape: (channels, height, width) of the images, or (height, width) if they are grey. None: a row is a
            square image, grey or RGB.
        value_range: The values of black and white, such as (255, 0) if black is 255. None: 0 and 255 for uint8,
            otherwise the smallest and the largest value in `fit`.
        pad: Whether rows of any length are accepted; each becomes the top of the smallest square image, on black.
        features: What finds the categories, as for `infogan.fit`: the name of a pretrained encoder, a PyTorch module, a
            function, or vectors, (samples, features), of the samples that `fit` gets. None: features of its own.
        options: Any other option of a run by its dotted name, e.g. ``{"train.batch_size": 64}``.
        random_state: Seed, ``RandomState``, or None for a different run each time.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        on_step: Called with the number of steps made and of all steps.

    Attributes:
        model_: The `InfoGAN`.
        labels_: int64 (samples,), the category of each training image.
        history_: The records of ``stats.jsonl``.
        n_features_in_: Length of a row, or of a flattened image.
        image_shape_: (channels, size, size) of the images.
        value_range_: The values of black and white.
        verdict_: The `Verdict` on the model that `fit` trained, from the training images alone.

    Example:
        >>> estimator = InfoGANEstimator(10, budget=120).fit(sklearn.datasets.load_digits().data)
        >>> estimator.labels_.shape
        (1797,)
    """

    def __init__(
        self,
        n_categories: Number = 10,
        *,
        n_continuous: Number = 2,
        recipe: str = "robust",
        budget: Number | None = None,
        steps: Number | None = None,
        image_shape: Shape | tuple[int, int] | None = None,
        value_range: tuple[float, float] | None = None,
        pad: bool = False,
        features: Any = None,
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
        self.features = features
        self.options = options
        self.random_state = random_state
        self.device = device
        self.on_step = on_step

    # Training.

    def fit(self, X: Any, y: object = None) -> "InfoGANEstimator":
        """Train on images.

        Args:
            X: Numbers of shape (samples, features), (samples, height, width), (samples, channels, height, width) or
                (samples, height, width, channels); a list of images; or what else `infogan.fit` takes.
            y: Ignored.

        Warns:
            ConvergenceWarning: There are too few images, or too short a budget, for a good model.
            UserWarning: The values seem to have another range than ``value_range``.

        Raises:
            ValueError: X has another shape, or values that are not finite or not in ``value_range``.
        """
        images = self._as_images(X, reset=True)
        plan = self._resolve(images, without_none({"budget": self.budget, "steps": self.steps}))
        for warning in plan.warnings:
            warnings.warn(warning, ConvergenceWarning, stacklevel=2)
        augmentations, seed = plan.config.augment.strengths, plan.config.train.seed
        teacher = None
        if plan.vectors is not None:
            teacher = fit_teacher(plan.vectors, plan.config.category_sizes[0], seed)
        first_stage = self._train(plan.config, images, teacher)
        space = None if teacher is None else teacher.space
        inputs = EvaluationInputs(self.model_, images, None, seed, augmentations, first_stage, space)
        self.verdict_ = Verdict.parse(evaluate(inputs, ["trust"], samples=VERDICT_SAMPLES)["verdict"])
        return self

    @available_if(_has_one_stage)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: object = None) -> "InfoGANEstimator":
        """Continue the training with these images, for recipes of one stage.

        Each call makes ``steps`` steps, or passes once over the images. Learning rates do not decay, because the end is
        unknown.

        Args:
            X: As for `fit`; the first call determines the shape and the range.
            y: Ignored.

        Raises:
            ValueError: As `fit`.
        """
        is_first = not getattr(self, "_run_files", {})
        images = self._as_images(X, reset=is_first)
        config = self._resolve(images, {"steps": 1}).config if is_first else self._config
        check_enough_images(images, *config.largest_batch)
        (stage,) = config.stages
        updates = tuple(update.model_copy(update={"decay": "none"}) for update in stage.updates)
        config = config.model_copy(update={"stages": (stage.model_copy(update={"updates": updates}),)})
        steps = math.ceil(len(images) / config.train.batch_size)
        if self.steps is not None:
            steps = whole_number(self.steps, "the number of steps", 1)
        self._train(config.with_train(steps=steps if is_first else config.train.steps + steps), images)
        return self

    def _resolve(self, images: ImageSet, length: dict[str, Any]) -> Plan:
        """Resolve the options of a run."""
        seed = int(check_random_state(to_plain(self.random_state)).randint(SEEDS))
        layer: dict[str, Any] = {"train": {"seed": seed, **length}}
        vectors = None
        if self.features is not None and not (isinstance(self.features, str) and self.features == "none"):
            is_named = isinstance(self.features, str)
            layer["features"] = {"source": self.features if is_named else GIVEN}
            with neutral_state():
                vectors = vectors_of(images, self.features, pick_device(str(self.device)))
        options = compose(
            self.recipe,
            [layer],
            (self.options or {}).items(),
            categorical=self.n_categories,
            continuous=self.n_continuous,
        )
        with neutral_state():
            device = pick_device(str(self.device))
            return plan(options, images=images, device=device, timed=False, vectors=vectors)

    def _train(self, config: Config, images: ImageSet, teacher: Teacher | None = None) -> Encoder | None:
        """Train, from the files of the last `partial_fit` if there are any, and set the attributes.

        Returns:
            The encoder as it was before its categories formed, if the recipe has one.
        """
        with TemporaryDirectory() as folder:
            run = RunFolder.at(Path(folder))
            for name, content in self._run_files.items():
                write_bytes(run.path / name, content)
            callbacks = [_OnStep(self.on_step, config.train.steps)] if self.on_step is not None else []
            targets = None if teacher is None else teacher.probabilities
            device = pick_device(str(self.device))
            self.model_ = train(config, images, run, device=device, callbacks=callbacks, targets=targets).to("cpu")
            self.history_ = run.read_stats()
            first_stage = load_first_stage(run, self.model_.config.shape)
            checkpoint = latest_checkpoint_path(run.checkpoints)
            assert checkpoint is not None  # training ends with one
            if len(config.stages) == 1:
                self._config = config
                files = checkpoint, run.stats
                self._run_files: dict[str, bytes] = {
                    str(path.relative_to(run.path)): path.read_bytes() for path in files
                }
        self.labels_ = self._categories(self.model_.encode(images.images))
        return first_stage

    # Prediction.

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return the category of each image, (samples,); raise ValueError for images of another shape, or as `fit`."""
        return self._categories(self._encode(X))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each category, (samples, n_categories); raise ValueError as `predict`."""
        return self._probabilities(self._encode(X))

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Return the codes of images: the probability of each category, then each knob in [-1, 1].

        Returns:
            float64 (samples, n_categories + n_continuous); `get_feature_names_out` names the columns.

        Raises:
            ValueError: As `predict`.
        """
        encoding = self._encode(X)
        knobs = [encoding.codes[name] for name in self._knobs]
        return np.column_stack([self._probabilities(encoding), *knobs]).astype(np.float64)

    def inverse_transform(self, X: Any) -> NDArray[Any]:
        """Generate an image from the most probable category and the knobs of each row, all with the same noise.

        Args:
            X: Codes of shape (samples, n_categories + n_continuous), as from `transform`; knobs are clipped to [-1, 1].

        Returns:
            (samples, features), with values between black and white.

        Raises:
            ValueError: Another number of columns.
        """
        check_is_fitted(self)
        codes = np.asarray(X, np.float64)
        split, columns = self._n_categories, self._n_categories + len(self._knobs)
        if codes.ndim != 2 or codes.shape[1] != columns:
            raise UserError(f"the codes have the shape {codes.shape}; expected (samples, {columns})")
        categories, knobs = codes[:, :split].argmax(axis=1), np.clip(codes[:, split:], -1, 1)
        values = {self._code: categories.tolist(), **dict(zip(self._knobs, knobs.T.tolist(), strict=True))}
        return self._as_rows(self.model_.generate(self.model_.noise(1, seed=0).repeat(len(codes), 1), values))

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return log Q(c|x) of the most probable category c of each image, in nats, (samples,); 0 is certain.

        It is not a density of the images. Raises ValueError as `predict`.
        """
        return np.asarray(np.log(self._probabilities(self._encode(X)).max(axis=1)))

    def score(self, X: Any, y: object = None) -> float:
        """Return the mutual information of images and categories in nats, H(c) - H(c|x) (Krause et al. 2010).

        It is high if all categories are used and each prediction is certain. It uses no labels. Raises ValueError as
        `predict`.
        """
        probabilities = self._probabilities(self._encode(X))
        return float(entr(probabilities.mean(axis=0)).sum() - entr(probabilities).sum(axis=1).mean())

    def sample(self, n_samples: Number = 1) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Generate images with ``random_state`` as the seed.

        Returns:
            The images, (n_samples, features), and the category of each, (n_samples,).

        Raises:
            ValueError: ``n_samples`` is less than 1.
        """
        check_is_fitted(self)
        samples = self.model_.sample(
            n_samples, seed=int(check_random_state(to_plain(self.random_state)).randint(SEEDS))
        )
        return self._as_rows(samples.images), samples.codes[self._code]

    def get_feature_names_out(self, input_features: object = None) -> NDArray[Any]:
        """Return the names of the columns of `transform`."""
        check_is_fitted(self)
        categories = [f"{self._code}_{value}" for value in range(self._n_categories)]
        return np.array([*categories, *self._knobs], dtype=object)

    @property
    def _code(self) -> str:
        return self.model_.first_categorical().name

    @property
    def _n_categories(self) -> int:
        return self.model_.first_categorical().size

    @property
    def _knobs(self) -> list[str]:
        return [code.name for code in self.model_.config.codes if code.name != self._code]

    def _encode(self, X: Any) -> Encoding:
        check_is_fitted(self)
        return self.model_.encode(self._as_images(X).images)

    def _probabilities(self, encoding: Encoding) -> NDArray[np.float64]:
        probabilities = encoding.probabilities[self._code].astype(np.float64)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def _categories(self, encoding: Encoding) -> NDArray[np.int64]:
        return np.asarray(encoding.codes[self._code], np.int64)

    # Rows to images and back.

    def _as_images(self, X: Any, *, reset: bool = False) -> ImageSet:
        """Return X as images; with ``reset``, set the shape and the range that later images must have."""
        expected: Shape | None = None
        if not reset:
            expected = self.image_shape_
        elif self.image_shape is not None:
            expected = _checked_shape(self.image_shape)
        X, shape = as_numbers(X, ImageSpec() if expected is None else ImageSpec(expected[1], expected[0])), None
        if getattr(X, "ndim", 2) in (3, 4):
            X = channels_first(X, "X")
            shape = _checked_shape(X.shape[1:])
            X = X.reshape(len(X), -1)
        types = [np.float64, np.float32, np.uint8]  # other types, such as int64, become the first
        rows = validate_data(self, X, reset=reset, dtype=types, ensure_min_samples=2 if reset else 1)
        if shape is not None and expected not in (None, shape):
            source = "image_shape is" if reset else "the training images have"
            raise UserError(f"X has images of shape {shape}; {source} {expected}")
        if reset:
            self.image_shape_: Shape = shape or self._shape_of_row(rows.shape[1])
            self.value_range_ = self._range_of(rows)
            self._is_uint8 = rows.dtype == np.uint8
            self._run_files = {}
        self._check_range(rows, reset=reset)
        low, high = self.value_range_
        pixels = np.zeros((len(rows), math.prod(self.image_shape_)), np.uint8)
        pixels[:, : rows.shape[1]] = np.rint(np.clip((rows - low) / (high - low), 0, 1) * 255)
        return ImageSet(pixels.reshape(len(rows), *self.image_shape_), NumberedNames(len(rows)), "X")

    def _check_range(self, rows: NDArray[Any], *, reset: bool) -> None:
        """Raise UserError for values outside ``value_range``, and warn of values that seem to have another range."""
        low, high = sorted(self.value_range_)
        smallest, largest = float(rows.min()), float(rows.max())
        black, white = self.value_range_
        if self.value_range is not None and not low <= smallest <= largest <= high:
            raise UserError(f"X has values from {smallest:g} to {largest:g}; value_range allows {low:g} to {high:g}")
        is_wide = max(high - smallest, largest - low) > RANGE_FACTOR * (high - low)
        # In `predict`, a few images of bytes may be dark; floats that are all near zero are of another range.
        is_narrow = (reset or rows.dtype != np.uint8) and low < largest < low + (high - low) / RANGE_FACTOR
        if is_wide or is_narrow:
            warnings.warn(
                f"X has values from {smallest:g} to {largest:g}, but black is {black:g} and white is {white:g}: give X "
                "the range of the training images, or pass the right value_range",
                stacklevel=4,
            )

    def _shape_of_row(self, features: int) -> Shape:
        """Return the shape of the image in a row; raise UserError if there is none."""
        if self.image_shape is not None:
            shape = _checked_shape(self.image_shape)
            if math.prod(shape) != features:
                raise UserError(f"X has {features} features, but image_shape is {shape}")
            return shape
        for channels in (1, 3):
            side = math.isqrt(features // channels)
            if channels * side**2 == features and side in SIZES:
                return channels, side, side
        side = max(SIZES.start, math.ceil(math.sqrt(features)))
        if self.pad and side in SIZES:
            return 1, side, side
        raise UserError(
            f"X has {features} features, which is not a square image, grey or RGB, of {SIZES.start} to "
            f"{SIZES.stop - 1} pixels: pass image_shape, or pad=True to fill up the rows"
        )

    def _range_of(self, rows: NDArray[Any]) -> tuple[float, float]:
        """Return the values of black and white."""
        if self.value_range is not None:
            return _checked_range(self.value_range)
        if rows.dtype == np.uint8:
            return 0.0, 255.0
        low, high = float(rows.min()), float(rows.max())
        return low, high if low < high else low + 1.0

    def _as_rows(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        rows = images.reshape(len(images), -1)[:, : self.n_features_in_]
        low, high = self.value_range_
        values = low + rows / 255 * (high - low)
        return np.rint(values.clip(0, 255)).astype(np.uint8) if self._is_uint8 else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # codes have a type of their own
        tags.non_deterministic = False
        return tags


def _checked_shape(shape: Any) -> Shape:
    """Return the shape of an image, of one grey channel if it has two numbers; raise UserError if there is none."""
    numbers = to_plain(shape)
    if isinstance(numbers, list) and len(numbers) == 2:
        numbers = [1, *numbers]
    if not isinstance(numbers, list) or len(numbers) != 3:
        raise UserError(f"image_shape is {shape!r}; give (channels, height, width), or (height, width) for grey images")
    channels, height, width = (whole_number(number, "a number in image_shape", 1) for number in numbers)
    if channels > MAX_CHANNELS or height != width or height not in SIZES:
        raise UserError(
            f"X has images of shape {tuple(numbers)}: allowed are 1 to {MAX_CHANNELS} channels and squares of "
            f"{SIZES.start} to {SIZES.stop - 1} pixels"
        )
    return channels, height, width


def _checked_range(value_range: Any) -> tuple[float, float]:
    """Return the values of black and white; raise UserError unless they are two different, finite numbers."""
    numbers = to_plain(value_range)
    if not isinstance(numbers, list) or not all(isinstance(number, int | float) for number in numbers):
        raise UserError(f"value_range is {value_range!r}; give the values of black and white, such as (0, 255)")
    check_value_range(numbers)  # type: ignore[arg-type]  # it checks the length
    return float(numbers[0]), float(numbers[1])

"""Stage hooks: what is done once at the start of a stage. ``Stage.on_start`` lists them by name.

A hook changes the encoder and its training state. It depends on the weights, the images, the few labels and the seed
alone, so that a run resumed at the start of a stage repeats it bit for bit.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from infogan.data.batches import PixelSource, stream_seed, to_network
from infogan.data.labels import FewLabels
from infogan.models.architectures import Images
from infogan.models.encoder import Encoder
from infogan.models.reader import Reader
from infogan.training import clustering
from infogan.training.separation import replace_chance_modes
from infogan.training.state import HOOK_STREAM, EncoderState, TrainState
from infogan.utils import distributed
from infogan.utils.matching import hungarian_mapping
from infogan.utils.random import BatchRandom

Pixels = UInt8[Tensor, "sample channel _ _"]

CLUSTERED_IMAGES = 20_000  # from which the categories start
PRIOR_IMAGES = 20_000  # from which a prior is estimated
CALIBRATION_IMAGES = 10_000  # over which the reader's codes are uniform
NEIGHBOUR_IMAGES = 10_000  # among which the distance between neighbours is measured
VAT_RADIUS = 0.45  # in distances between neighbouring images
# Share of the features' scatter that compact clusters leave at most: k-means clusters, and modes of density, between
# which lies a valley.
MAX_COMPACT_SCATTER, MAX_COMPACT_SCATTER_OF_MODES = 0.235, 0.35
DIFFUSE_LR_SCALE = 0.1  # of the encoder if the clusters are not compact
MAX_SIZE_RATIO = 2.0  # largest cluster over smallest, up to which the prior stays uniform
PRIOR_SMOOTHING = 0.05  # uniform share of an estimated prior, so that no category dies out

Hook = Callable[[Encoder, EncoderState, PixelSource, int, FewLabels | None], None]


def run_stage_hooks(state: TrainState, stage: int, pixels: PixelSource, few_labels: FewLabels | None = None) -> None:
    """Run a stage's hooks on the averaged encoder and reader, on rank 0, and give all workers the result.

    Args:
        state: The state, whose encoder and reader are changed.
        stage: Number of the stage.
        pixels: All images of the run.
        few_labels: Labels of a few of them.
    """
    hooks = state.config.stages[stage].on_start
    if not hooks:
        return
    state.ema.refresh()
    networks, average = state.networks, state.ema.average
    seed = stream_seed(state.config.train.seed, HOOK_STREAM, stage)
    if (reader := networks.reader) is not None and average.reader is not None and CALIBRATE in hooks:
        _change(reader, average.reader, lambda: calibrate(reader, pixels, seed))
    encoder_hooks = [STAGE_HOOKS[name] for name in hooks if name != CALIBRATE]
    if (encoder := networks.encoder) is not None and average.encoder is not None and encoder_hooks:

        def run() -> None:
            for hook in encoder_hooks:
                hook(encoder, state.encoder_state, pixels, seed, few_labels)

        _change(encoder, average.encoder, run)
        distributed.broadcast_module(state.encoder_state)
    state.model.sync_prior()


def _change(network: nn.Module, average: nn.Module, change: Callable[[], None]) -> None:
    """Set a network to its average, change it on rank 0, and give the result to all workers and to the average."""
    network.load_state_dict(average.state_dict())
    distributed.on_rank0(change)
    distributed.broadcast_module(network)
    average.load_state_dict(network.state_dict())


def cluster(
    encoder: Encoder, state: EncoderState, pixels: PixelSource, seed: int, few_labels: FewLabels | None = None
) -> None:
    """Set the encoder's directions to clusters of its features, and the radius of the loss ``vat``.

    The prior is uniform unless the clusters are modes of density and differ in size by more than ``MAX_SIZE_RATIO``.
    At this time sizes are known only roughly: a prior from clusters of about equal size would keep errors in place.

    If the clusters are not compact, the encoder goes on at ``DIFFUSE_LR_SCALE``: merging classes that touch would
    reduce the losses of this stage.

    Given a few labels, the first categories are those that contain most of their images, in the order of the labels.
    """
    images = _resized(encoder, sample_pixels(pixels, CLUSTERED_IMAGES, seed))
    features = encoder.features_in_batches(images).cpu().numpy()
    categories = len(encoder.directions)
    modes = clustering.modes(features)
    clusters = clustering.cluster(features, categories, seed=seed % 2**31, density_modes=modes)
    labels, kinds = clusters.labels, clusters.kinds
    if clusters.are_modes:
        labels = replace_chance_modes(features, modes, categories, seed=seed % 2**31)
    directions = clustering.directions(features, labels, categories)
    if few_labels is not None:
        order = _order_by_labels(encoder, pixels, directions, few_labels)
        directions, labels, kinds = directions[order], np.argsort(order)[labels], kinds[order]
    nearest = (features @ directions.T).argmax(axis=1)  # as the encoder files the images now
    masses = torch.from_numpy(np.bincount(nearest, minlength=categories) / len(nearest))
    total_scatter = clustering.scatter(features, np.zeros_like(labels), 1)
    max_scatter = MAX_COMPACT_SCATTER_OF_MODES if clusters.are_modes else MAX_COMPACT_SCATTER
    is_compact = clustering.scatter(features, labels, categories) <= max_scatter * total_scatter
    neighbour_images = images[:: -(-len(images) // NEIGHBOUR_IMAGES)].flatten(1).cpu().numpy()
    with torch.no_grad():
        encoder.directions.copy_(torch.from_numpy(directions))
        encoder.kinds.zero_()
        if kinds.shape[1] <= encoder.MAX_KINDS:
            encoder.kinds[:, : kinds.shape[1]] = torch.from_numpy(kinds / len(labels))
        is_imbalanced = clusters.are_modes and bool(masses.max() > MAX_SIZE_RATIO * masses.min())
        encoder.prior.copy_(_smoothed(masses) if is_imbalanced else torch.full_like(masses, 1 / categories))
        state.marginal.copy_(masses)
        state.lr_scale.fill_(1.0 if is_compact else DIFFUSE_LR_SCALE)
        state.vat_radius.fill_(VAT_RADIUS * clustering.neighbour_distance(neighbour_images))


def freeze_if_diffuse(encoder: Encoder, state: EncoderState, *_: object) -> None:
    """Freeze the encoder if its clusters were not compact.

    Self-training separates classes that are apart, but merges classes that touch.
    """
    state.lr_scale.mul_(state.lr_scale == 1)


def learn_prior(encoder: Encoder, state: EncoderState, pixels: PixelSource, seed: int, *_: object) -> None:
    """Set the encoder's prior to the frequencies of its categories in the training images."""
    features = encoder.features_in_batches(_resized(encoder, sample_pixels(pixels, PRIOR_IMAGES, seed)))
    with torch.no_grad():
        categories = encoder.logits(features).argmax(dim=1)
        frequencies = torch.bincount(categories, minlength=len(encoder.directions)) / len(categories)
        encoder.prior.copy_(_smoothed(frequencies))


def calibrate(reader: Reader, pixels: PixelSource, seed: int) -> None:
    """Scale the reader's codes to be uniform on [-1, 1] over the training images, varied by the codes' ranges."""
    random = BatchRandom(torch.Generator(reader.knots.device).manual_seed(seed))
    reader.eval()
    with torch.no_grad():
        parts = torch.split(sample_pixels(pixels, CALIBRATION_IMAGES, seed), 500)
        images = (reader.vary(to_network(part.to(reader.knots.device)), random) for part in parts)
        reader.calibrate(torch.cat([reader.measure(batch) for batch in images]))


STAGE_HOOKS: dict[str, Hook] = {hook.__name__: hook for hook in (cluster, freeze_if_diffuse, learn_prior)}
CALIBRATE = calibrate.__name__  # the hook of the reader; the others are of the encoder


def _order_by_labels(
    encoder: Encoder, pixels: PixelSource, directions: NDArray[np.float32], few_labels: FewLabels
) -> NDArray[np.intp]:
    """Return the clusters in the order of the labels that match them; clusters without a label come last."""
    images = _resized(encoder, pixels[torch.from_numpy(few_labels.indices).to(pixels.device)])
    nearest = (encoder.features_in_batches(images).cpu().numpy() @ directions.T).argmax(axis=1)
    mapping = hungarian_mapping(nearest, few_labels.values, len(directions), len(few_labels.names))
    order: NDArray[np.intp] = np.argsort(np.where(mapping < 0, len(directions), mapping), kind="stable")
    return order


def _smoothed(frequencies: Tensor) -> Tensor:
    return (1 - PRIOR_SMOOTHING) * frequencies + PRIOR_SMOOTHING / len(frequencies)


def _resized(encoder: Encoder, pixels: Pixels) -> Images:
    """Return images at the encoder's size, converted in parts: all of them as floats would need too much memory."""
    parts = (to_network(part.to(encoder.directions.device)) for part in torch.split(pixels, 500))
    return torch.cat([encoder.resize(part) for part in parts])


def sample_pixels(pixels: PixelSource, count: int, seed: int) -> Pixels:
    """Return up to ``count`` of the images, drawn at random, in their order."""
    random = np.random.default_rng(stream_seed(seed, count))
    indices = np.sort(random.choice(len(pixels), min(count, len(pixels)), replace=False))
    return pixels[torch.from_numpy(indices).to(pixels.device)]

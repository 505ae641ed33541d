"""A model as native Keras 3 models, which load under TensorFlow, JAX and PyTorch without this package.

``generator.keras`` takes noise and codes by name, ``recognizer.keras`` gives what it reads by name. All layers are
Keras' own. Images are (batch, row, column, channel), float32 in [0, 1], as the blog post has them, and as Keras' own
tools show and save them.
"""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from infogan.config.schema import CategoricalCode
from infogan.models.architectures import (
    ConvGenerator,
    ConvTrunk,
    FlattenNHWC,
    ReplicatePadConv2d,
    SignedPixels,
    UnflattenNHWC,
    UnitPixels,
)
from infogan.models.batchnorm import BATCH_NORMS
from infogan.models.encoder import Encoder
from infogan.models.export.graphs import (
    IMAGES,
    NOISE,
    READ,
    Given,
    Graph,
    exact_networks,
    graphs_of,
    leaves,
    output_of,
    plain_names,
)
from infogan.models.infogan import InfoGAN
from infogan.models.latents import MINIMUM_DEVIATION
from infogan.models.networks import Networks
from infogan.utils.errors import UserError

Names = dict[str, str]  # of a code -> of its input, as `graphs.plain_names`
Options = dict[str, Any]  # of a layer


def write(model: InfoGAN, folder: Path) -> None:
    """Writes the model's networks as Keras models, and compares these, read back, with the model.

    In a process that has not imported Keras, and where ``KERAS_BACKEND`` names no backend, Keras is imported with the
    one on PyTorch; where it is imported already, it is used as it is.

    Raises:
        UserError: Keras or its backend is not there, or an export would not be exact.
    """
    keras = _keras()
    networks, names = exact_networks(model), plain_names(model.layout.codes)
    builders = {"generator": _generator, "recognizer": _recognizer}
    # Other devices may multiply with fewer digits than are compared.
    with keras.device("cpu"):
        for graph in graphs_of(model):
            path, stack = folder / f"{graph.name}.keras", _Stack(keras, {*graph.inputs, *graph.outputs})
            builders[graph.name](stack, networks, model, names).save(path)
            graph.check(partial(_run, keras, keras.saving.load_model(path), graph))


def _run(keras: Any, network: Any, graph: Graph, given: Given) -> list[NDArray[Any]]:
    """What a Keras model makes of what the module is given, in the module's order of axes."""
    if graph.name == "recognizer":
        (images,) = leaves(given)
        found = network(images.permute(0, 2, 3, 1).numpy())
        return [keras.ops.convert_to_numpy(found[name]) for name in graph.outputs]
    fed = {name: leaf.numpy() for name, leaf in zip(graph.inputs, leaves(given), strict=True) if leaf.numel()}
    return [keras.ops.convert_to_numpy(network(fed)).transpose(0, 3, 1, 2)]


def _keras() -> Any:
    """Keras; raises UserError where it, or the backend that it is to have, is not there."""
    left_to_us = "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ
    if left_to_us:
        os.environ["KERAS_BACKEND"] = "torch"  # the one that is there for certain
    backend = os.environ.get("KERAS_BACKEND")
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name == "keras":
            raise UserError("Keras models need another library: pip install 'infogan[keras]'") from error
        raise UserError(f"KERAS_BACKEND is {backend!r}, but {error.name} is not installed") from error
    except ValueError as error:
        raise UserError(f"KERAS_BACKEND is {backend!r}: allowed are jax, tensorflow and torch") from error
    finally:
        if left_to_us:  # it has been read, and is no matter of processes that are started from here
            del os.environ["KERAS_BACKEND"]
    if keras.__version__.startswith(("1.", "2.")):
        raise UserError(f"Keras models need Keras 3, not {keras.__version__}: pip install --upgrade 'infogan[keras]'")
    return keras


# The two models.


class _Stack:
    """Adds layers that are the same whatever types, layouts and names Keras is set to at the time.

    Args:
        keras: The library.
        taken: Names that are for inputs and outputs.
    """

    def __init__(self, keras: Any, taken: set[str]) -> None:
        self.keras, self.layers = keras, keras.layers
        self._taken = set(taken)

    def input(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        """An input of the model."""
        return self.keras.Input(shape=shape, dtype=dtype, name=name)

    def add(self, kind: Any, inputs: Any, *weights: Tensor | None, name: str | None = None, **options: Any) -> Any:
        """The outputs of a new layer.

        Args:
            kind: Its class.
            inputs: Of the layer.
            weights: In Keras' order and layout; None = it has none such.
            name: Its own, if it is an output of the model.
            options: Of the class.
        """
        numbered = (f"{kind.__name__.lower()}_{number}" for number in count(1))
        name = name or next(name for name in numbered if name not in self._taken)
        self._taken.add(name)
        layer = kind(name=name, dtype="float32", **options)
        outputs = layer(inputs)
        if weights:
            layer.set_weights([weight.numpy() for weight in weights if weight is not None])
        return outputs


def _generator(stack: _Stack, networks: Networks, model: InfoGAN, names: Names) -> Any:
    """{name: noise or values of a code} -> images."""
    layout, layers = model.layout, stack.layers
    inputs, columns = {}, []
    if layout.noise.size:
        inputs[NOISE] = stack.input(NOISE, (layout.noise.size,))
        columns.append(inputs[NOISE])
    for name, code in layout.codes.items():
        own = names[name]
        if isinstance(code, CategoricalCode):
            inputs[own] = stack.input(own, (), "int32")
            columns.append(stack.add(layers.CategoryEncoding, inputs[own], num_tokens=code.size, output_mode="one_hot"))
        else:
            inputs[own] = stack.input(own, ())
            columns.append(stack.add(layers.Reshape, inputs[own], target_shape=(1,)))
    latents = stack.add(layers.Concatenate, columns) if len(columns) > 1 else columns[0]
    images = _put(stack, networks.generator, latents)
    if not _sees_unit_pixels(networks.generator):
        images = stack.add(layers.Rescaling, images, scale=0.5, offset=0.5)
    return stack.keras.Model(inputs, images, name="generator")


def _recognizer(stack: _Stack, networks: Networks, model: InfoGAN, names: Names) -> Any:
    """Images -> {name: what is read of a code}."""
    layers, size, recognizer, encoder = stack.layers, model.shape.size, networks.recognizer, networks.encoder
    images = stack.input(IMAGES, (size, size, model.shape.channels))
    signed = stack.add(layers.Rescaling, images, scale=2.0, offset=-1.0)
    outputs = {}
    if recognizer is not None:
        trunk = recognizer.trunk or networks.discriminator.trunk
        features = _put(stack, trunk, images if _sees_unit_pixels(trunk) else signed)
        *hidden, readout = recognizer.head if isinstance(recognizer.head, nn.Sequential) else [recognizer.head]
        assert isinstance(readout, nn.Linear)
        features = _put(stack, nn.Sequential(*hidden), features)
        rows = iter(zip(readout.weight, readout.bias, strict=True))  # of the outputs that no code has taken yet
    for name, code in model.layout.codes.items():
        own = {what: output_of(names[name], what) for what in READ[code.kind]}
        if encoder is not None and name == model.first_categorical().name:
            outputs[own["probabilities"]] = _encoded(stack, encoder, signed, name=own["probabilities"])
        elif isinstance(code, CategoricalCode):
            read: Options = {"activation": "softmax", "name": own["probabilities"]}
            outputs[own["probabilities"]] = _read(stack, features, rows, code.size, **read)
        else:
            mean = _read(stack, features, rows, 1)
            outputs[own["mean"]] = stack.add(layers.Reshape, mean, target_shape=(), name=own["mean"])
            # As `codes.posterior_deviation`.
            learned = code.deviation is None
            raw = _read(stack, features, rows, 1, activation="softplus" if learned else None)
            scale, offset = (1.0, MINIMUM_DEVIATION) if learned else (0.0, code.deviation)
            deviation = stack.add(layers.Rescaling, raw, scale=scale, offset=offset)
            outputs[own["deviation"]] = stack.add(layers.Reshape, deviation, target_shape=(), name=own["deviation"])
    return stack.keras.Model(images, outputs, name="recognizer")


def _read(stack: _Stack, features: Any, rows: Iterator[tuple[Tensor, Tensor]], units: int, **options: Any) -> Any:
    """The outputs of a linear layer of which only the next ``units`` rows are taken."""
    weight, bias = map(torch.stack, zip(*islice(rows, units), strict=True))
    return stack.add(stack.layers.Dense, features, weight.T, bias, units=units, **options)


def _encoded(stack: _Stack, encoder: Encoder, images: Any, name: str) -> Any:
    """The probabilities that an encoder reads in images in [-1, 1]."""
    features = _put(stack, encoder.trunk, _resized(stack, encoder, images))
    directions = stack.add(stack.layers.UnitNormalization, features, axis=-1)
    kernel = functional.normalize(encoder.directions).T / encoder.TEMPERATURE
    dense: Options = {"units": kernel.shape[1], "use_bias": False, "activation": "softmax"}
    return stack.add(stack.layers.Dense, directions, kernel, name=name, **dense)


def _resized(stack: _Stack, encoder: Encoder, images: Any) -> Any:
    """As `Encoder.resized`, whose pixels are weighted sums along rows and along columns: two products with a matrix."""
    _, size, _, channels = images.shape
    lines = torch.eye(size)[:, None, :, None].expand(-1, 1, -1, size)  # one image for each row, which alone is 1
    sums = encoder.resize(lines)[:, 0, :, 0]
    side = sums.shape[1]
    if side == size:
        return images
    down: Options = {"equation": "brcf,rn->bncf", "output_shape": (side, size, channels), "trainable": False}
    across: Options = {"equation": "brcf,cn->brnf", "output_shape": (side, side, channels), "trainable": False}
    images = stack.add(stack.layers.EinsumDense, images, sums, **down)
    return stack.add(stack.layers.EinsumDense, images, sums, **across)


def _sees_unit_pixels(module: nn.Module) -> bool:
    """Whether a network has images in [0, 1] within, as the Keras models have them without."""
    return any(isinstance(part, UnitPixels | SignedPixels) for part in module.modules())


# Layer by layer. Maps are (batch, channel, row, column) in PyTorch and (batch, row, column, channel) in Keras.

LAST: Options = {"data_format": "channels_last"}


def _put(stack: _Stack, module: nn.Module, x: Any) -> Any:
    """The Keras layers of a PyTorch module, put upon ``x``; raises UserError for a module that has none."""
    for kind, put in PUT.items():
        if isinstance(module, kind):
            return put(stack, module, x)
    raise UserError(f"a model with a {type(module).__name__} can not be written as a Keras model")


def _sequence(stack: _Stack, module: nn.Sequential, x: Any) -> Any:
    for part in module:
        x = _put(stack, part, x)
    return x


def _conv_generator(stack: _Stack, module: ConvGenerator, x: Any) -> Any:
    for part in (module.project, module.grow, module.draw):
        x = _put(stack, part, x)
    beyond = (0, x.shape[1] - module.size)
    return stack.add(stack.layers.Cropping2D, x, cropping=(beyond, beyond), **LAST) if beyond[1] else x


def _conv_trunk(stack: _Stack, module: ConvTrunk, x: Any) -> Any:
    return _put(stack, module.layers, _with_edges(stack, x, 0, module.padding) if module.padding else x)


def _with_edges(stack: _Stack, x: Any, before: int, after: int) -> Any:
    """As `architectures.with_edges`."""
    for axis in (1, 2):
        rest, whole = x.shape[axis] - 1, (0, 0)
        first, last = (
            stack.add(stack.layers.Cropping2D, x, cropping=(cut, whole) if axis == 1 else (whole, cut), **LAST)
            for cut in ((0, rest), (rest, 0))
        )
        x = stack.add(stack.layers.Concatenate, [first] * before + [x] + [last] * after, axis=axis)
    return x


def _linear(stack: _Stack, module: nn.Linear, x: Any) -> Any:
    dense: Options = {"units": module.out_features, "use_bias": module.bias is not None}
    return stack.add(stack.layers.Dense, x, module.weight.T, module.bias, **dense)


def _conv(stack: _Stack, module: nn.Conv2d, x: Any) -> Any:
    # Unless they see edges repeated, convolutions here are padded so that they keep the map's size, or halve it.
    padding = "same"
    if isinstance(module, ReplicatePadConv2d):
        x, padding = _with_edges(stack, x, 1, 1), "valid"
    options: Options = {"filters": module.out_channels, "kernel_size": module.kernel_size, "strides": module.stride}
    options |= {"padding": padding, "use_bias": module.bias is not None}
    return stack.add(stack.layers.Conv2D, x, module.weight.permute(2, 3, 1, 0), module.bias, **options, **LAST)


def _transposed_conv(stack: _Stack, module: nn.ConvTranspose2d, x: Any) -> Any:
    # They double a map.
    options: Options = {"filters": module.out_channels, "kernel_size": module.kernel_size, "strides": module.stride}
    options |= {"padding": "same", "use_bias": module.bias is not None}
    kernel = module.weight.permute(2, 3, 1, 0)
    return stack.add(stack.layers.Conv2DTranspose, x, kernel, module.bias, **options, **LAST)


def _norm(stack: _Stack, module: Any, x: Any) -> Any:
    moments = (module.running_mean, module.running_var)
    options: Options = {"axis": -1, "epsilon": module.eps, "momentum": 1 - module.momentum}
    return stack.add(stack.layers.BatchNormalization, x, module.weight, module.bias, *moments, **options)


def _pixel_shuffle(stack: _Stack, module: nn.PixelShuffle, x: Any) -> Any:
    (_, rows, columns, channels), factor = x.shape, module.upscale_factor
    channels //= factor**2
    x = stack.add(stack.layers.Reshape, x, target_shape=(rows, columns, channels, factor, factor))
    x = stack.add(stack.layers.Permute, x, dims=(1, 4, 2, 5, 3))
    return stack.add(stack.layers.Reshape, x, target_shape=(rows * factor, columns * factor, channels))


def _pixel_unshuffle(stack: _Stack, module: nn.PixelUnshuffle, x: Any) -> Any:
    (_, rows, columns, channels), factor = x.shape, module.downscale_factor
    rows, columns = rows // factor, columns // factor
    x = stack.add(stack.layers.Reshape, x, target_shape=(rows, factor, columns, factor, channels))
    x = stack.add(stack.layers.Permute, x, dims=(1, 3, 5, 2, 4))
    return stack.add(stack.layers.Reshape, x, target_shape=(rows, columns, channels * factor**2))


def _flatten(stack: _Stack, module: nn.Flatten, x: Any) -> Any:
    # Channel by channel.
    return stack.add(stack.layers.Flatten, stack.add(stack.layers.Permute, x, dims=(3, 1, 2)), **LAST)


def _unflatten(stack: _Stack, module: nn.Unflatten, x: Any) -> Any:
    x = stack.add(stack.layers.Reshape, x, target_shape=tuple(module.unflattened_size))
    return stack.add(stack.layers.Permute, x, dims=(2, 3, 1))


def _from_flat(stack: _Stack, module: UnflattenNHWC, x: Any) -> Any:
    return stack.add(stack.layers.Reshape, x, target_shape=(module.side, module.side, module.channels))


def _max_pool(stack: _Stack, module: nn.MaxPool2d, x: Any) -> Any:
    padding = "same" if module.ceil_mode else "valid"
    return stack.add(stack.layers.MaxPooling2D, x, pool_size=module.kernel_size, padding=padding, **LAST)


def _average_pool(stack: _Stack, module: nn.AvgPool2d, x: Any) -> Any:
    return stack.add(stack.layers.AveragePooling2D, x, pool_size=module.kernel_size, **LAST)


def _upsample(stack: _Stack, module: nn.Upsample, x: Any) -> Any:
    assert isinstance(module.scale_factor, float)
    size = int(module.scale_factor)
    return stack.add(stack.layers.UpSampling2D, x, size=size, interpolation=module.mode, **LAST)


# Of several that fit, the first is taken.
PUT: dict[type[nn.Module], Callable[[_Stack, Any, Any], Any]] = {
    nn.Sequential: _sequence,
    ConvGenerator: _conv_generator,
    ConvTrunk: _conv_trunk,
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _transposed_conv,
    **dict.fromkeys(BATCH_NORMS, _norm),
    nn.ReLU: lambda stack, _, x: stack.add(stack.layers.ReLU, x),
    nn.LeakyReLU: lambda stack, module, x: stack.add(stack.layers.LeakyReLU, x, negative_slope=module.negative_slope),
    nn.Tanh: lambda stack, _, x: stack.add(stack.layers.Activation, x, activation="tanh"),
    nn.Sigmoid: lambda stack, _, x: stack.add(stack.layers.Activation, x, activation="sigmoid"),
    nn.PixelShuffle: _pixel_shuffle,
    nn.PixelUnshuffle: _pixel_unshuffle,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.Upsample: _upsample,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    FlattenNHWC: lambda stack, _, x: stack.add(stack.layers.Flatten, x, **LAST),
    UnflattenNHWC: _from_flat,
    UnitPixels: lambda _graph, _module, x: x,  # which `_sees_unit_pixels` has seen to
    SignedPixels: lambda _graph, _module, x: x,
}

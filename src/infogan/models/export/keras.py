"""Native Keras 3 models, which load with TensorFlow, JAX or PyTorch as backend, without this package.

``generator.keras`` takes noise and codes by name; ``recognizer.keras`` returns the posterior of each code by name. All
layers are Keras' own. Images are (batch, row, column, channel), float32 in [0, 1], as Keras' own tools expect.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from infogan.config.schema import CategoricalCode, Code
from infogan.models import architectures
from infogan.models.batchnorm import BATCH_NORMS
from infogan.models.encoder import Encoder
from infogan.models.export import graphs
from infogan.models.infogan import InfoGAN
from infogan.models.latents import MINIMUM_DEVIATION
from infogan.models.networks import Networks
from infogan.models.reader import Reader
from infogan.utils.errors import UserError


def write(model: InfoGAN, folder: Path) -> None:
    """Write the model's networks as Keras models, and compare the written files with the model.

    If Keras is not imported and ``KERAS_BACKEND`` is not set, Keras uses PyTorch as backend; otherwise it is used as it
    is.

    Raises:
        UserError: Keras or its backend is missing, or the export is not exact.
    """
    keras = _import_keras()
    networks, names = graphs.float32_networks(model), graphs.safe_names(model.layout.codes)
    build = {"generator": _generator, "recognizer": _recognizer}
    with keras.device("cpu"):  # other devices may multiply with less precision than the check needs
        for graph in graphs.model_graphs(model):
            path = folder / f"{graph.name}.keras"
            builder = _Builder(keras, {*graph.inputs, *graph.outputs})
            build[graph.name](builder, networks, model, names).save(path)
            graph.check(partial(_run, keras, keras.saving.load_model(path), graph))


def _run(keras: Any, network: Any, graph: graphs.Graph, *inputs: Any) -> list[NDArray[Any]]:
    """Return the outputs of a Keras model, with channels first, for inputs of the graph's module."""
    if graph.name == "recognizer":
        outputs = network(inputs[0].permute(0, 2, 3, 1).numpy())
        return [keras.ops.convert_to_numpy(outputs[name]) for name in graph.outputs]
    tensors = zip(graph.inputs, graphs.flatten(inputs), strict=True)
    images = network({name: tensor.numpy() for name, tensor in tensors if tensor.numel()})
    return [keras.ops.convert_to_numpy(images).transpose(0, 3, 1, 2)]


def _import_keras() -> Any:
    """Import Keras; raises UserError if Keras or the backend that is set is missing."""
    set_backend = "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ
    if set_backend:
        os.environ["KERAS_BACKEND"] = "torch"  # the only one that is certainly installed
    backend = os.environ.get("KERAS_BACKEND")
    try:
        import keras
    except ModuleNotFoundError as error:
        if error.name == "keras":
            raise UserError("Keras models need the library keras: pip install 'infogan[keras]'") from error
        raise UserError(f"KERAS_BACKEND is {backend!r}, but {error.name} is not installed") from error
    except ValueError as error:
        raise UserError(f"KERAS_BACKEND is {backend!r}; allowed are jax, tensorflow and torch") from error
    finally:
        if set_backend:  # child processes must not inherit it
            del os.environ["KERAS_BACKEND"]
    if keras.__version__.startswith(("1.", "2.")):
        raise UserError(f"Keras models need Keras 3, not {keras.__version__}: pip install --upgrade 'infogan[keras]'")
    return keras


# The two models.


class _Builder:
    """Adds layers that do not depend on the user's Keras settings for types, image layout and names.

    Args:
        keras: The library.
        reserved: Names of inputs and outputs.
    """

    def __init__(self, keras: Any, reserved: set[str]) -> None:
        self.keras = keras
        self._names = set(reserved)

    def input(self, name: str, *shape: int, dtype: str = "float32") -> Any:
        """Add an input of the model; ``shape`` is without the batch."""
        return self.keras.Input(shape, dtype=dtype, name=name)

    def add(self, layer: str, x: Any, *weights: Tensor | None, name: str | None = None, **options: Any) -> Any:
        """Add a layer and return its outputs.

        Args:
            layer: Name of its class in `keras.layers`.
            x: Its inputs.
            weights: Weights in Keras' order and layout, without those that are None.
            name: Name, if it is an output of the model.
            options: Arguments of the class.
        """
        if name is None:
            candidates = (f"{layer.lower()}_{number}" for number in count(1))
            name = next(candidate for candidate in candidates if candidate not in self._names)
        self._names.add(name)
        layer_class = getattr(self.keras.layers, layer)
        if "data_format" in inspect.signature(layer_class.__init__).parameters:
            options["data_format"] = "channels_last"
        added = layer_class(name=name, dtype="float32", **options)
        outputs = added(x)
        added.set_weights([weight.numpy() for weight in weights if weight is not None])
        return outputs


def _generator(builder: _Builder, networks: Networks, model: InfoGAN, names: dict[str, str]) -> Any:
    """Build the model {name: noise or values of a code} -> images."""
    inputs, columns = {}, []
    if noise_size := model.layout.noise.size:
        inputs[graphs.NOISE] = builder.input(graphs.NOISE, noise_size)
        columns.append(inputs[graphs.NOISE])
    for code in model.layout.codes.values():
        name = names[code.name]
        if isinstance(code, CategoricalCode):
            inputs[name] = builder.input(name, dtype="int32")
            columns.append(builder.add("CategoryEncoding", inputs[name], num_tokens=code.size, output_mode="one_hot"))
        else:
            inputs[name] = builder.input(name)
            columns.append(builder.add("Reshape", inputs[name], target_shape=(1,)))
    latents = builder.add("Concatenate", columns) if len(columns) > 1 else columns[0]
    images = builder.add("Rescaling", _convert(builder, networks.generator, latents), scale=0.5, offset=0.5)
    return builder.keras.Model(inputs, images, name="generator")


def _recognizer(builder: _Builder, networks: Networks, model: InfoGAN, names: dict[str, str]) -> Any:
    """Build the model images -> {name: parameter of a code's posterior}."""
    images = builder.input(graphs.IMAGES, model.shape.size, model.shape.size, model.shape.channels)
    signed = builder.add("Rescaling", images, scale=2.0, offset=-1.0)
    readouts: dict[str, tuple[Any, ...]] = {}  # by code: features, weight and bias of its columns of the posterior
    if networks.encoder is not None:
        readouts[model.first_categorical().name] = _encoder(builder, networks.encoder, signed)
    if networks.reader is not None:
        declared = [code.name for code in model.layout.continuous if code.follows is not None]
        readouts |= zip(declared, _reader(builder, networks.reader, signed), strict=True)
    if networks.recognizer is not None:
        trunk, head = networks.recognizer.trunk or networks.discriminator.trunk, networks.recognizer.head
        *hidden, readout = head if isinstance(head, nn.Sequential) else [head]
        assert isinstance(readout, nn.Linear)
        features = _convert(builder, nn.Sequential(trunk, *hidden), signed)
        slices = {code: columns for code, columns in model.layout.posterior_slices.items() if code not in readouts}
        sizes = [columns.stop - columns.start for columns in slices.values()]
        weights, biases = torch.split(readout.weight, sizes), torch.split(readout.bias, sizes)
        readouts |= {code: (features, *parameters) for code, *parameters in zip(slices, weights, biases, strict=True)}
    outputs: dict[str, Any] = {}
    for code in model.layout.codes.values():
        outputs |= _posterior(builder, code, names[code.name], *readouts[code.name])
    return builder.keras.Model(images, outputs, name="recognizer")


def _encoder(builder: _Builder, encoder: Encoder, images: Any) -> tuple[Any, Tensor, None]:
    """Add an encoder's features of images in [-1, 1]; return them with weight and bias of the logits."""
    features = _convert(builder, encoder.trunk, _resize(builder, encoder, images))
    features = builder.add("UnitNormalization", features, axis=-1)
    return features, functional.normalize(encoder.directions) / encoder.TEMPERATURE, None


def _reader(builder: _Builder, reader: Reader, images: Any) -> Iterator[tuple[Any, Tensor, Tensor]]:
    """Add a reader of images in [-1, 1]; yield for each property the features, weight and bias of its posterior."""
    features = _convert(builder, reader.trunk, _resize(builder, reader, images))
    for index, (knots, bends) in enumerate(zip(reader.knots, reader.bends, strict=True)):
        measured = _dense(builder, features, reader.head.weight[index : index + 1], reader.head.bias[index : index + 1])
        bent = _dense(builder, measured, torch.ones(len(knots), 1), -knots, activation="relu")
        weight = torch.cat([reader.slopes[index : index + 1], bends])
        mean, bias = torch.stack([weight, torch.zeros_like(weight)]), reader.offsets[index] * torch.tensor([1.0, 0.0])
        yield builder.add("Concatenate", [measured, bent]), mean, bias


def _posterior(builder: _Builder, code: Code, name: str, features: Any, weight: Tensor, bias: Any) -> dict[str, Any]:
    """Add the outputs for one code, by name, from features and the weights of its columns of the posterior."""
    names = graphs.output_names(name, code.kind)
    if isinstance(code, CategoricalCode):
        return {names[0]: _dense(builder, features, weight, bias, activation="softmax", name=names[0])}
    mean = _dense(builder, features, weight[:1], bias[:1])
    # As `latents.posterior_deviation`.
    is_learned = code.deviation is None
    raw = _dense(builder, features, weight[1:], bias[1:], activation="softplus" if is_learned else None)
    scale, offset = (1.0, MINIMUM_DEVIATION) if is_learned else (0.0, code.deviation)
    deviation = builder.add("Rescaling", raw, scale=scale, offset=offset)
    scalars = zip(names, (mean, deviation), strict=True)
    return {name: builder.add("Reshape", value, target_shape=(), name=name) for name, value in scalars}


def _resize(builder: _Builder, encoder: Encoder | Reader, images: Any) -> Any:
    """Add `Encoder.resize`, a weighted sum along rows and along columns, as two products with a matrix."""
    _, size, _, channels = images.shape
    unit_rows = torch.eye(size)[:, None, :, None].expand(-1, 1, -1, size)  # one image per row, in which that row is 1
    weights = encoder.resize(unit_rows)[:, 0, :, 0]
    side = weights.shape[1]
    if side == size:
        return images
    for equation, shape in (("brcf,rn->bncf", (side, size, channels)), ("brcf,cn->brnf", (side, side, channels))):
        images = builder.add("EinsumDense", images, weights, equation=equation, output_shape=shape, trainable=False)
    return images


# Layers. Maps are (batch, channel, row, column) in PyTorch and (batch, row, column, channel) in Keras.


def _convert(builder: _Builder, module: nn.Module, x: Any) -> Any:
    """Add the Keras layers of a PyTorch module; raises UserError for a module without a counterpart."""
    for kind, convert in CONVERTERS.items():
        if isinstance(module, kind):
            return convert(builder, module, x)
    raise UserError(f"a model with a {type(module).__name__} cannot be written as a Keras model")


def _sequence(builder: _Builder, module: nn.Sequential, x: Any) -> Any:
    for part in module:
        x = _convert(builder, part, x)
    return x


def _conv_generator(builder: _Builder, module: architectures.ConvGenerator, x: Any) -> Any:
    x = _sequence(builder, nn.Sequential(module.project, module.grow, module.draw), x)
    excess = x.shape[1] - module.size
    return builder.add("Cropping2D", x, cropping=((0, excess), (0, excess))) if excess else x


def _conv_trunk(builder: _Builder, module: architectures.ConvTrunk, x: Any) -> Any:
    return _convert(builder, module.layers, _replicate_pad(builder, x, 0, module.padding) if module.padding else x)


def _replicate_pad(builder: _Builder, x: Any, before: int, after: int) -> Any:
    """Add `architectures.replicate_pad`."""
    for axis in (1, 2):
        crops = ((0, x.shape[axis] - 1), (x.shape[axis] - 1, 0))  # all but the first or the last line
        first, last = (
            builder.add("Cropping2D", x, cropping=(crop, (0, 0)) if axis == 1 else ((0, 0), crop)) for crop in crops
        )
        x = builder.add("Concatenate", [first] * before + [x] + [last] * after, axis=axis)
    return x


def _dense(builder: _Builder, x: Any, weight: Tensor, bias: Tensor | None, **options: Any) -> Any:
    return builder.add("Dense", x, weight.T, bias, units=len(weight), use_bias=bias is not None, **options)


def _conv(builder: _Builder, module: nn.Conv2d | nn.ConvTranspose2d, x: Any) -> Any:
    # All convolutions keep, halve or double the size of the map, as "same" does.
    padding = "same"
    if isinstance(module, architectures.ReplicatePadConv2d):
        x, padding = _replicate_pad(builder, x, 1, 1), "valid"
    layer = "Conv2DTranspose" if isinstance(module, nn.ConvTranspose2d) else "Conv2D"
    options: dict[str, Any] = {"filters": module.out_channels, "kernel_size": module.kernel_size}
    options |= {"strides": module.stride, "padding": padding, "use_bias": module.bias is not None}
    return builder.add(layer, x, module.weight.permute(2, 3, 1, 0), module.bias, **options)


def _batch_norm(builder: _Builder, module: Any, x: Any) -> Any:
    weights = (module.weight, module.bias, module.running_mean, module.running_var)
    return builder.add("BatchNormalization", x, *weights, axis=-1, epsilon=module.eps, momentum=1 - module.momentum)


def _pixel_shuffle(builder: _Builder, module: nn.PixelShuffle, x: Any) -> Any:
    (_, rows, columns, channels), factor = x.shape, module.upscale_factor
    channels //= factor**2
    x = builder.add("Reshape", x, target_shape=(rows, columns, channels, factor, factor))
    x = builder.add("Permute", x, dims=(1, 4, 2, 5, 3))
    return builder.add("Reshape", x, target_shape=(rows * factor, columns * factor, channels))


def _pixel_unshuffle(builder: _Builder, module: nn.PixelUnshuffle, x: Any) -> Any:
    (_, rows, columns, channels), factor = x.shape, module.downscale_factor
    rows, columns = rows // factor, columns // factor
    x = builder.add("Reshape", x, target_shape=(rows, factor, columns, factor, channels))
    x = builder.add("Permute", x, dims=(1, 3, 5, 2, 4))
    return builder.add("Reshape", x, target_shape=(rows, columns, channels * factor**2))


def _unflatten(builder: _Builder, module: nn.Unflatten, x: Any) -> Any:
    x = builder.add("Reshape", x, target_shape=tuple(module.unflattened_size))
    return builder.add("Permute", x, dims=(2, 3, 1))


# The first class that a module is an instance of decides.
CONVERTERS: dict[type[nn.Module], Callable[[_Builder, Any, Any], Any]] = {
    nn.Sequential: _sequence,
    architectures.ConvGenerator: _conv_generator,
    architectures.ConvTrunk: _conv_trunk,
    nn.Linear: lambda builder, module, x: _dense(builder, x, module.weight, module.bias),
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _conv,
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
    nn.ReLU: lambda builder, _, x: builder.add("ReLU", x),
    nn.LeakyReLU: lambda builder, module, x: builder.add("LeakyReLU", x, negative_slope=module.negative_slope),
    nn.Tanh: lambda builder, _, x: builder.add("Activation", x, activation="tanh"),
    nn.Sigmoid: lambda builder, _, x: builder.add("Activation", x, activation="sigmoid"),
    nn.PixelShuffle: _pixel_shuffle,
    nn.PixelUnshuffle: _pixel_unshuffle,
    nn.MaxPool2d: lambda builder, _, x: builder.add("MaxPooling2D", x, pool_size=2, padding="same"),  # ceil_mode
    nn.AvgPool2d: lambda builder, module, x: builder.add(
        "AveragePooling2D", x, pool_size=module.kernel_size, padding="same"
    ),
    nn.Upsample: lambda builder, module, x: builder.add("UpSampling2D", x, size=2, interpolation=module.mode),
    nn.Flatten: lambda builder, _, x: builder.add("Flatten", builder.add("Permute", x, dims=(3, 1, 2))),
    nn.Unflatten: _unflatten,
    architectures.FlattenNHWC: lambda builder, _, x: builder.add("Flatten", x),
    architectures.UnflattenNHWC: lambda builder, module, x: builder.add("Reshape", x, target_shape=module.shape),
    architectures.UnitPixels: lambda builder, _, x: builder.add("Rescaling", x, scale=0.5, offset=0.5),
    architectures.SignedPixels: lambda builder, _, x: builder.add("Rescaling", x, scale=2.0, offset=-1.0),
}

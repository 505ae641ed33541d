"""A model as native Keras 3 models, which load under TensorFlow, JAX and PyTorch without this package.

``generator.keras`` takes noise and codes by name, ``recognizer.keras`` gives what it reads by name, and ``codes.json``
says which names these are. All layers are Keras' own. Images are (batch, row, column, channel), float32 in [0, 1], as
the blog post has them, and as Keras' own tools show and save them.
"""

import copy
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from infogan.architectures import (
    ConvGenerator,
    ConvTrunk,
    EdgeConv,
    FromFlat,
    Images,
    SignedPixels,
    ToFlat,
    UnitPixels,
)
from infogan.codes import MINIMUM_DEVIATION, CodeLayout
from infogan.config import CategoricalCode
from infogan.errors import UserError
from infogan.files import replacing, write_json
from infogan.model import InfoGAN
from infogan.networks import BATCH_NORMS, Encoder, Networks

FORMAT = 1  # of codes.json
TOLERANCE = 1e-5  # by which numbers up to 1 may differ from the model's own, and larger ones in proportion
CHECKED = 16  # samples, and as many images of noise, for which that is looked at

Keys = dict[str, str]  # name of a code -> what it is called in the Keras models
Options = dict[str, Any]  # of a layer


def write_keras(model: InfoGAN, folder: Path) -> list[Path]:
    """Writes a model as Keras models, after these, read back, have given what the model gives.

    In a process that has not imported Keras, and where ``KERAS_BACKEND`` names no backend, Keras is imported with the
    one on PyTorch; where it is imported already, it is used as it is.

    Args:
        model: Of any kind. A gan and a cgan have no recognizer.
        folder: Which exists.

    Returns:
        The files: ``generator.keras``, ``recognizer.keras`` if codes are read, ``codes.json``.

    Raises:
        UserError: Keras or its backend is not there, a file can not be written, or the Keras models give something else
            than the model. Nothing is left behind.
    """
    keras = _keras()
    networks = copy.deepcopy(model.networks).cpu()
    networks.compute_in_bfloat16(False)
    keys = _keys(model.layout)
    builders = {"generator.keras": _generator} | ({"recognizer.keras": _recognizer} if networks.reads_codes else {})
    # Other devices may multiply with fewer digits than are compared.
    with ExitStack() as stack, keras.device("cpu"):
        read_back = []
        for name, build in builders.items():
            temporary = stack.enter_context(replacing(folder / name))
            build(_Graph(keras, keys), networks, model, keys).save(temporary)
            read_back.append(keras.saving.load_model(temporary))
        _check(keras, read_back, networks, model.layout, keys)
        described = stack.enter_context(replacing(folder / "codes.json"))
        write_json(described, _described(model, keys, list(builders)))
    return [folder / name for name in (*builders, "codes.json")]


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


# What codes are called. Their names may be any text, those of Keras' layers may not.


def _keys(layout: CodeLayout) -> Keys:
    """A key for each code, of ASCII letters, digits and underscores."""
    keys: Keys = {}
    taken = {"noise", "images"}
    for place, name in enumerate(layout.codes, start=1):
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or f"code{place}"
        candidates = (plain if number == 1 else f"{plain}_{number}" for number in count(1))
        keys[name] = next(key for key in candidates if not {key, _deviation(key)} & taken)
        taken |= {keys[name], _deviation(keys[name])}
    return keys


def _deviation(key: str) -> str:
    """The recognizer's output beside that of a continuous code."""
    return f"{key}_deviation"


def _described(model: InfoGAN, keys: Keys, files: list[str]) -> dict[str, Any]:
    """What ``codes.json`` holds."""
    codes: list[dict[str, Any]] = []
    for name, code in model.layout.codes.items():
        told = {"name": name, "kind": code.kind, "key": keys[name]}
        if isinstance(code, CategoricalCode):
            values, order = model.value_names(name), [int(value) for value in model.values_of(name)]
            prior = model.layout.prior(code).double()
            prior = prior / prior.sum()  # so that NumPy, which is strict, draws from it
            codes.append({**told, "size": code.size, "prior": prior.tolist(), "values": values, "order": order})
        else:
            codes.append({**told, "range": [-1.0, 1.0], "deviation_key": _deviation(keys[name])})
    return {
        "format": FORMAT,
        "kind": model.config.kind,
        "models": files,
        "images": {"key": "images", "shape": [*[model.shape.size] * 2, model.shape.channels], "range": [0.0, 1.0]},
        "noise": {"key": "noise", "size": model.layout.noise.size, "distribution": model.layout.noise.distribution},
        "codes": codes,
    }


# The two models.


class _Graph:
    """Adds layers that are the same whatever types, layouts and names Keras is set to at the time.

    Args:
        keras: The library.
        keys: Names that are for inputs and outputs.
    """

    def __init__(self, keras: Any, keys: Keys) -> None:
        self.keras, self.layers = keras, keras.layers
        self._taken = {"noise", "images", *keys.values(), *map(_deviation, keys.values())}

    def input(self, key: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
        """An input of the model."""
        return self.keras.Input(shape=shape, dtype=dtype, name=key)

    def add(self, kind: Any, inputs: Any, *weights: Tensor | None, key: str | None = None, **options: Any) -> Any:
        """The outputs of a new layer.

        Args:
            kind: Its class.
            inputs: Of the layer.
            weights: In Keras' order and layout; None = it has none such.
            key: Its name, if it is an output of the model.
            options: Of the class.
        """
        numbered = (f"{kind.__name__.lower()}_{number}" for number in count(1))
        name = key or next(name for name in numbered if name not in self._taken)
        self._taken.add(name)
        layer = kind(name=name, dtype="float32", **options)
        outputs = layer(inputs)
        if weights:
            layer.set_weights([weight.numpy() for weight in weights if weight is not None])
        return outputs


def _generator(graph: _Graph, networks: Networks, model: InfoGAN, keys: Keys) -> Any:
    """{key: noise or values of a code} -> images."""
    layout, layers = model.layout, graph.layers
    inputs, columns = {}, []
    if layout.noise.size:
        inputs["noise"] = graph.input("noise", (layout.noise.size,))
        columns.append(inputs["noise"])
    for name, code in layout.codes.items():
        key = keys[name]
        if isinstance(code, CategoricalCode):
            inputs[key] = graph.input(key, (), "int32")
            columns.append(graph.add(layers.CategoryEncoding, inputs[key], num_tokens=code.size, output_mode="one_hot"))
        else:
            inputs[key] = graph.input(key, ())
            columns.append(graph.add(layers.Reshape, inputs[key], target_shape=(1,)))
    latents = graph.add(layers.Concatenate, columns) if len(columns) > 1 else columns[0]
    images = _put(graph, networks.generator, latents)
    if not _sees_unit_pixels(networks.generator):
        images = graph.add(layers.Rescaling, images, scale=0.5, offset=0.5)
    return graph.keras.Model(inputs, images, name="generator")


def _recognizer(graph: _Graph, networks: Networks, model: InfoGAN, keys: Keys) -> Any:
    """Images -> {key: probabilities or mean of a code, or its deviation}."""
    layers, size, recognizer, encoder = graph.layers, model.shape.size, networks.recognizer, networks.encoder
    images = graph.input("images", (size, size, model.shape.channels))
    signed = graph.add(layers.Rescaling, images, scale=2.0, offset=-1.0)
    outputs = {}
    if recognizer is not None:
        trunk = recognizer.trunk or networks.discriminator.trunk
        features = _put(graph, trunk, images if _sees_unit_pixels(trunk) else signed)
        *hidden, readout = recognizer.head if isinstance(recognizer.head, nn.Sequential) else [recognizer.head]
        assert isinstance(readout, nn.Linear)
        features = _put(graph, nn.Sequential(*hidden), features)
        rows = iter(zip(readout.weight, readout.bias, strict=True))  # of the outputs that no code has taken yet
    for name, code in model.layout.codes.items():
        key = keys[name]
        if encoder is not None and name == model.first_categorical().name:
            outputs[key] = _encoded(graph, encoder, signed, key)
        elif isinstance(code, CategoricalCode):
            outputs[key] = _read(graph, features, rows, code.size, activation="softmax", key=key)
        else:
            mean = _read(graph, features, rows, 1)
            outputs[key] = graph.add(layers.Reshape, mean, target_shape=(), key=key)
            # As `codes.deviation_of`.
            learned = code.deviation is None
            raw = _read(graph, features, rows, 1, activation="softplus" if learned else None)
            scale, offset = (1.0, MINIMUM_DEVIATION) if learned else (0.0, code.deviation)
            deviation = graph.add(layers.Rescaling, raw, scale=scale, offset=offset)
            outputs[_deviation(key)] = graph.add(layers.Reshape, deviation, target_shape=(), key=_deviation(key))
    return graph.keras.Model(images, outputs, name="recognizer")


def _read(graph: _Graph, features: Any, rows: Iterator[tuple[Tensor, Tensor]], units: int, **options: Any) -> Any:
    """The outputs of a linear layer of which only the next ``units`` rows are taken."""
    weight, bias = map(torch.stack, zip(*islice(rows, units), strict=True))
    return graph.add(graph.layers.Dense, features, weight.T, bias, units=units, **options)


def _encoded(graph: _Graph, encoder: Encoder, images: Any, key: str) -> Any:
    """The probabilities that an encoder reads in images in [-1, 1]."""
    features = _put(graph, encoder.trunk, _resized(graph, encoder, images))
    directions = graph.add(graph.layers.UnitNormalization, features, axis=-1)
    kernel = functional.normalize(encoder.directions).T / encoder.TEMPERATURE
    dense: Options = {"units": kernel.shape[1], "use_bias": False, "activation": "softmax"}
    return graph.add(graph.layers.Dense, directions, kernel, key=key, **dense)


def _resized(graph: _Graph, encoder: Encoder, images: Any) -> Any:
    """As `Encoder.resized`, whose pixels are weighted sums along rows and along columns: two products with a matrix."""
    _, size, _, channels = images.shape
    lines = torch.eye(size)[:, None, :, None].expand(-1, 1, -1, size)  # one image for each row, which alone is 1
    sums = encoder.resized(lines)[:, 0, :, 0]
    side = sums.shape[1]
    if side == size:
        return images
    down: Options = {"equation": "brcf,rn->bncf", "output_shape": (side, size, channels), "trainable": False}
    across: Options = {"equation": "brcf,cn->brnf", "output_shape": (side, side, channels), "trainable": False}
    images = graph.add(graph.layers.EinsumDense, images, sums, **down)
    return graph.add(graph.layers.EinsumDense, images, sums, **across)


def _sees_unit_pixels(module: nn.Module) -> bool:
    """Whether a network has images in [0, 1] within, as the Keras models have them without."""
    return any(isinstance(part, UnitPixels | SignedPixels) for part in module.modules())


# Layer by layer. Maps are (batch, channel, row, column) in PyTorch and (batch, row, column, channel) in Keras.

LAST: Options = {"data_format": "channels_last"}


def _put(graph: _Graph, module: nn.Module, x: Any) -> Any:
    """The Keras layers of a PyTorch module, put upon ``x``; raises UserError for a module that has none."""
    for kind, put in PUT.items():
        if isinstance(module, kind):
            return put(graph, module, x)
    raise UserError(f"a model with a {type(module).__name__} can not be written as a Keras model")


def _sequence(graph: _Graph, module: nn.Sequential, x: Any) -> Any:
    for part in module:
        x = _put(graph, part, x)
    return x


def _conv_generator(graph: _Graph, module: ConvGenerator, x: Any) -> Any:
    for part in (module.project, module.grow, module.draw):
        x = _put(graph, part, x)
    beyond = (0, x.shape[1] - module.size)
    return graph.add(graph.layers.Cropping2D, x, cropping=(beyond, beyond), **LAST) if beyond[1] else x


def _conv_trunk(graph: _Graph, module: ConvTrunk, x: Any) -> Any:
    return _put(graph, module.layers, _with_edges(graph, x, 0, module.padding) if module.padding else x)


def _with_edges(graph: _Graph, x: Any, before: int, after: int) -> Any:
    """As `architectures.with_edges`."""
    for axis in (1, 2):
        rest, whole = x.shape[axis] - 1, (0, 0)
        first, last = (
            graph.add(graph.layers.Cropping2D, x, cropping=(cut, whole) if axis == 1 else (whole, cut), **LAST)
            for cut in ((0, rest), (rest, 0))
        )
        x = graph.add(graph.layers.Concatenate, [first] * before + [x] + [last] * after, axis=axis)
    return x


def _linear(graph: _Graph, module: nn.Linear, x: Any) -> Any:
    dense: Options = {"units": module.out_features, "use_bias": module.bias is not None}
    return graph.add(graph.layers.Dense, x, module.weight.T, module.bias, **dense)


def _conv(graph: _Graph, module: nn.Conv2d, x: Any) -> Any:
    # Unless they see edges repeated, convolutions here are padded so that they keep the map's size, or halve it.
    padding = "same"
    if isinstance(module, EdgeConv):
        x, padding = _with_edges(graph, x, 1, 1), "valid"
    options: Options = {"filters": module.out_channels, "kernel_size": module.kernel_size, "strides": module.stride}
    options |= {"padding": padding, "use_bias": module.bias is not None}
    return graph.add(graph.layers.Conv2D, x, module.weight.permute(2, 3, 1, 0), module.bias, **options, **LAST)


def _transposed_conv(graph: _Graph, module: nn.ConvTranspose2d, x: Any) -> Any:
    # They double a map.
    options: Options = {"filters": module.out_channels, "kernel_size": module.kernel_size, "strides": module.stride}
    options |= {"padding": "same", "use_bias": module.bias is not None}
    kernel = module.weight.permute(2, 3, 1, 0)
    return graph.add(graph.layers.Conv2DTranspose, x, kernel, module.bias, **options, **LAST)


def _norm(graph: _Graph, module: Any, x: Any) -> Any:
    moments = (module.running_mean, module.running_var)
    options: Options = {"axis": -1, "epsilon": module.eps, "momentum": 1 - module.momentum}
    return graph.add(graph.layers.BatchNormalization, x, module.weight, module.bias, *moments, **options)


def _pixel_shuffle(graph: _Graph, module: nn.PixelShuffle, x: Any) -> Any:
    (_, rows, columns, channels), factor = x.shape, module.upscale_factor
    channels //= factor**2
    x = graph.add(graph.layers.Reshape, x, target_shape=(rows, columns, channels, factor, factor))
    x = graph.add(graph.layers.Permute, x, dims=(1, 4, 2, 5, 3))
    return graph.add(graph.layers.Reshape, x, target_shape=(rows * factor, columns * factor, channels))


def _pixel_unshuffle(graph: _Graph, module: nn.PixelUnshuffle, x: Any) -> Any:
    (_, rows, columns, channels), factor = x.shape, module.downscale_factor
    rows, columns = rows // factor, columns // factor
    x = graph.add(graph.layers.Reshape, x, target_shape=(rows, factor, columns, factor, channels))
    x = graph.add(graph.layers.Permute, x, dims=(1, 3, 5, 2, 4))
    return graph.add(graph.layers.Reshape, x, target_shape=(rows, columns, channels * factor**2))


def _flatten(graph: _Graph, module: nn.Flatten, x: Any) -> Any:
    # Channel by channel.
    return graph.add(graph.layers.Flatten, graph.add(graph.layers.Permute, x, dims=(3, 1, 2)), **LAST)


def _unflatten(graph: _Graph, module: nn.Unflatten, x: Any) -> Any:
    x = graph.add(graph.layers.Reshape, x, target_shape=tuple(module.unflattened_size))
    return graph.add(graph.layers.Permute, x, dims=(2, 3, 1))


def _from_flat(graph: _Graph, module: FromFlat, x: Any) -> Any:
    return graph.add(graph.layers.Reshape, x, target_shape=(module.side, module.side, module.channels))


def _max_pool(graph: _Graph, module: nn.MaxPool2d, x: Any) -> Any:
    padding = "same" if module.ceil_mode else "valid"
    return graph.add(graph.layers.MaxPooling2D, x, pool_size=module.kernel_size, padding=padding, **LAST)


def _average_pool(graph: _Graph, module: nn.AvgPool2d, x: Any) -> Any:
    return graph.add(graph.layers.AveragePooling2D, x, pool_size=module.kernel_size, **LAST)


def _upsample(graph: _Graph, module: nn.Upsample, x: Any) -> Any:
    assert isinstance(module.scale_factor, float)
    size = int(module.scale_factor)
    return graph.add(graph.layers.UpSampling2D, x, size=size, interpolation=module.mode, **LAST)


# Of several that fit, the first is taken.
PUT: dict[type[nn.Module], Callable[[_Graph, Any, Any], Any]] = {
    nn.Sequential: _sequence,
    ConvGenerator: _conv_generator,
    ConvTrunk: _conv_trunk,
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _transposed_conv,
    **dict.fromkeys(BATCH_NORMS, _norm),
    nn.ReLU: lambda graph, _, x: graph.add(graph.layers.ReLU, x),
    nn.LeakyReLU: lambda graph, module, x: graph.add(graph.layers.LeakyReLU, x, negative_slope=module.negative_slope),
    nn.Tanh: lambda graph, _, x: graph.add(graph.layers.Activation, x, activation="tanh"),
    nn.Sigmoid: lambda graph, _, x: graph.add(graph.layers.Activation, x, activation="sigmoid"),
    nn.PixelShuffle: _pixel_shuffle,
    nn.PixelUnshuffle: _pixel_unshuffle,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.Upsample: _upsample,
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    ToFlat: lambda graph, _, x: graph.add(graph.layers.Flatten, x, **LAST),
    FromFlat: _from_flat,
    UnitPixels: lambda _graph, _module, x: x,  # which `_sees_unit_pixels` has seen to
    SignedPixels: lambda _graph, _module, x: x,
}


# Whether they are the same.


def _check(keras: Any, read_back: Sequence[Any], networks: Networks, layout: CodeLayout, keys: Keys) -> None:
    """Compares what was written with the model on drawn latents, on the images made of them and on noise.

    Raises:
        UserError: some number differs by more than `TOLERANCE`.
    """
    chances = torch.Generator().manual_seed(0)
    noise, codes = layout.sample_noise(CHECKED, chances), layout.sample_codes(CHECKED, chances)
    drawn = networks.generate(layout.latents(noise, codes))
    generator, *recognizer = read_back
    inputs = {keys[name]: values for name, values in codes.items()} | ({"noise": noise} if layout.noise.size else {})
    made = generator({key: values.numpy() for key, values in inputs.items()})
    _compare(keras, "the images of the Keras model differ", "the model's own", made, _unit(drawn))
    for model in recognizer:
        images = torch.cat([drawn, 2 * torch.rand(drawn.shape, generator=chances) - 1])
        found = model(_unit(images).numpy())
        for name, reading in layout.read(networks.posterior(images)).items():
            expected = {keys[name]: reading.probabilities, _deviation(keys[name]): reading.deviation}
            if reading.mean is not None:
                expected[keys[name]] = reading.mean
            for key, numbers in expected.items():
                if numbers is not None:
                    what = f"what the Keras model reads of {name!r} differs"
                    _compare(keras, what, "what the model reads", found[key], numbers)


def _unit(images: Images) -> Tensor:
    """(batch, row, column, channel) in [0, 1]."""
    return (images.permute(0, 2, 3, 1) + 1) / 2


def _compare(keras: Any, what_differs: str, other: str, found: Any, expected: Tensor) -> None:
    numbers, wanted = keras.ops.convert_to_numpy(found), expected.numpy()
    difference = float((np.abs(numbers - wanted) / np.maximum(1, np.abs(wanted))).max())
    if not difference <= TOLERANCE:  # nor is it where there are numbers that are none
        raise UserError(
            f"{what_differs} by {difference:.1e} from {other}, and {TOLERANCE:.0e} is allowed: Keras "
            f"{keras.__version__} with {keras.backend.backend()} does not compute the same, or a weight is no number"
        )

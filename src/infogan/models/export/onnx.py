"""ONNX: ``generator.onnx`` and ``recognizer.onnx``, for onnxruntime and whatever else reads the format.

Each file is run by onnxruntime and compared with the model before it is written.
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from infogan.models.export.graphs import Given, Graph, description, graphs_of, leaves
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import UserError
from infogan.utils.files import write_bytes

OPSET = 18
METADATA = "infogan"  # the key, in the model's own metadata, of its description


def write(model: InfoGAN, folder: Path) -> None:
    """Writes the model's networks as ONNX files.

    Raises:
        UserError: the libraries are not installed, an export would not be exact, or the folder can not be written.
    """
    for name, content in models_of(model).items():
        write_bytes(folder / name, content)


def models_of(model: InfoGAN) -> dict[str, bytes]:
    """The ONNX files of a model by their names, checked; raises UserError as `write`."""
    runtime = _libraries()
    told = json.dumps(description(model))
    made = {}
    for graph in graphs_of(model):
        content = _exported(graph, told)
        # On one thread, as few images need no more.
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        graph.check(partial(_run, session, graph))
        made[f"{graph.name}.onnx"] = content
    return made


def _libraries() -> Any:
    """Returns onnxruntime, where what writes ONNX files is installed as well."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("ONNX files need other libraries: pip install 'infogan[onnx]'") from error
    return onnxruntime


def _exported(graph: Graph, told: str) -> bytes:
    """A network as an ONNX file, whole and well-formed."""
    import onnx

    with _quietly():
        program = torch.onnx.export(graph.traced(), dynamo=True, opset_version=OPSET, verbose=False)
        assert program is not None
        _tidy(program.model, graph)
        program.model.metadata_props[METADATA] = told
        content: bytes = program.model_proto.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    return content


def _run(session: Any, graph: Graph, given: Given) -> list[NDArray[Any]]:
    fed = {name: leaf.numpy() for name, leaf in zip(graph.inputs, leaves(given), strict=True)}
    found: list[NDArray[Any]] = session.run(graph.outputs, fed)
    return found


def _tidy(model: Any, graph: Graph) -> None:
    """Names inputs and outputs, and takes away how each node came about, which names files of this machine.

    The exporter names what is in between after operations, as a code may be called too: those get names with a dot.
    """
    ends = [*model.graph.inputs, *model.graph.outputs]
    inner = [value for node in model.graph for value in node.outputs if value not in ends]
    constants = [value for name, value in model.graph.initializers.items() if "." not in name]
    for number, value in enumerate([*inner, *constants]):
        value.name = f"value.{number}"
    for value, name in zip(ends, [*graph.inputs, *graph.outputs], strict=True):
        value.name = name
        value.shape = type(value.shape)(["batch", *list(value.shape)[1:]])
    for part in [model, model.graph, *model.graph, *ends, *inner, *model.graph.initializers.values()]:
        part.metadata_props.clear()
        part.doc_string = None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps to itself what the exporter says of its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

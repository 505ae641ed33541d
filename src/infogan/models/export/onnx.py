"""ONNX: ``generator.onnx`` and ``recognizer.onnx``, for onnxruntime and other readers of the format.

onnxruntime runs each file, and the results are compared with the model's, before the file is written.
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
from torch import Tensor

from infogan.models.export.graphs import Graph, describe, flatten, model_graphs
from infogan.models.infogan import InfoGAN
from infogan.utils.errors import import_extra
from infogan.utils.files import write_bytes

OPSET = 18
METADATA = "infogan"  # key of the description in the file's metadata


def write(model: InfoGAN, folder: Path) -> None:
    """Write the model's networks as ONNX files.

    Raises:
        UserError: a library is missing, the export is not exact, or the folder is not writable.
    """
    for name, content in onnx_files(model).items():
        write_bytes(folder / name, content)


def onnx_files(model: InfoGAN) -> dict[str, bytes]:
    """Return the checked ONNX files of a model by name; raises UserError as `write`."""
    libraries = ("onnxruntime", "onnx", "onnxscript")
    onnxruntime, *_ = (import_extra(library, "onnx", "ONNX files need") for library in libraries)
    description = json.dumps(describe(model))
    files = {}
    for graph in model_graphs(model):
        content = _convert(graph, description)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # enough for a few images
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        graph.check(partial(_run, session, graph))
        files[f"{graph.name}.onnx"] = content
    return files


def _convert(graph: Graph, description: str) -> bytes:
    import onnx

    with _silence():
        program = torch.onnx.export(graph.trace(), dynamo=True, opset_version=OPSET, verbose=False)
        assert program is not None
        _clean_up(program.model, graph)
        program.model.metadata_props[METADATA] = description
        content: bytes = program.model_proto.SerializeToString()
    onnx.checker.check_model(content, full_check=True)
    return content


def _run(session: Any, graph: Graph, *inputs: Tensor | dict[str, Tensor]) -> Any:
    feeds = {name: tensor.numpy() for name, tensor in zip(graph.inputs, flatten(inputs), strict=True)}
    return session.run(graph.outputs, feeds)


def _clean_up(model: Any, graph: Graph) -> None:
    """Name inputs and outputs, and remove metadata that contains paths of this machine.

    The exporter names inner values after operations. A code may have the same name, so inner values are renamed, with a
    dot in the name.
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
def _silence() -> Iterator[None]:
    """Suppress warnings and log messages of the exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)

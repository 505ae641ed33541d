"""torch.export: ``generator.pt2`` and ``recognizer.pt2``, which PyTorch runs without this package."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infogan.models.export.graphs import Given, description, graphs_of, leaves
from infogan.models.infogan import InfoGAN
from infogan.utils.files import write_bytes

METADATA = "infogan.json"  # the extra file that has the description


def write(model: InfoGAN, folder: Path) -> None:
    """Writes the model's networks as programs of torch.export.

    Raises:
        UserError: an export would not be exact, or the folder can not be written.
    """
    told = json.dumps(description(model))
    for graph in graphs_of(model):
        program = graph.traced()
        graph.check(_Run(program.module()))
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)  # which names files of this machine
        program.example_inputs = None  # PyTorch would write a pickle of them
        torch.export.save(program, content := io.BytesIO(), extra_files={METADATA: told})
        write_bytes(folder / f"{graph.name}.pt2", content.getvalue())


class _Run:
    """A program as `Graph.check` runs it."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __call__(self, given: Given) -> list[Tensor]:
        with torch.inference_mode():
            found: Tensor | Mapping[str, Mapping[str, Tensor]] = self._module(*given)
        return [found] if isinstance(found, Tensor) else leaves(found.values())

"""torch.export: ``generator.pt2`` and ``recognizer.pt2``, which PyTorch runs without this package."""

import io
import json
from pathlib import Path

import torch

from infogan.models.export.graphs import describe, model_graphs
from infogan.models.infogan import InfoGAN
from infogan.utils.files import write_bytes

METADATA = "infogan.json"  # file in the archive that holds the description


def write(model: InfoGAN, folder: Path) -> None:
    """Write the model's networks as torch.export programs.

    Raises:
        UserError: the export is not exact, or the folder is not writable.
    """
    description = json.dumps(describe(model))
    for graph in model_graphs(model):
        program = graph.trace()
        graph.check(program.module())
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)  # it contains paths of this machine
        program.example_inputs = None  # PyTorch would pickle them
        torch.export.save(program, content := io.BytesIO(), extra_files={METADATA: description})
        write_bytes(folder / f"{graph.name}.pt2", content.getvalue())

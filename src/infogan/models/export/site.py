"""A web page that runs the model in the browser, from any file server or from the disk.

A page that is opened from the disk can load scripts, but no other files. So the model and the WebAssembly that runs it
are text in scripts, compressed with gzip. The page requests no other files, and its content security policy forbids
sending data.
"""

import base64
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from infogan.models.export import onnx
from infogan.models.export.graphs import describe
from infogan.models.export.runtime import CODE, PACKAGE, SCRIPT, VERSION, read_runtime
from infogan.models.infogan import InfoGAN
from infogan.utils.files import write_bytes

STATIC = Path(__file__).parent / "static"
EXPLORER = Path(__file__).parents[2] / "explorer" / "static"  # the page shares its style and its script for steering
SHARED = ("dom.js", "state.js", "predictions.js", "steer.js")
MODULES = (*(EXPLORER / name for name in SHARED), STATIC / "onnx.js", STATIC / "site.js")


def write(model: InfoGAN, folder: Path, runtime: str | Path | None = None) -> None:
    """Write the page, ``index.html``, and its scripts.

    Args:
        model: The model.
        folder: Folder to write.
        runtime: The npm package onnxruntime-web, as for `runtime.read_runtime`.

    Raises:
        UserError: as `onnx.write` and `runtime.read_runtime`.
    """
    runtime_files = read_runtime(None if runtime is None else Path(runtime))  # first, because it fails quickly
    networks = "".join(_compressed(name, content) for name, content in onnx.onnx_files(model).items())
    files = {
        "model.js": f"self.model = {json.dumps(describe(model))};\n{networks}",
        "runtime.js": _as_script(runtime_files[SCRIPT].decode()),
        "runtime.wasm.js": _compressed("runtime.wasm", runtime_files[CODE]),
        "index.html": Template(_read(STATIC / "index.html")).substitute(steer=_read(EXPLORER / "steer.html")),
        "site.js": bundle(MODULES),
        "site.css": _read(EXPLORER / "explorer.css") + _read(STATIC / "site.css"),
        "icon.svg": _read(EXPLORER / "icon.svg"),
        "LICENSE.txt": Template(_read(STATIC / "LICENSE.txt")).substitute(package=PACKAGE, version=VERSION),
    }
    for name, text in files.items():
        write_bytes(folder / name, text.encode())


def bundle(modules: Sequence[Path]) -> str:
    """Join JavaScript modules into one script, because browsers load no modules from a disk.

    Modules come in the order of their imports. Their top-level names must differ.
    """
    text = "\n".join(_read(path) for path in modules)
    text = re.sub(r"^import .*?;\n", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^export ", "", text, flags=re.MULTILINE)
    return f"'use strict';\n(() => {{\n{text}}})();\n"


def _read(path: Path) -> str:
    return path.read_text("utf-8")


def _compressed(name: str, content: bytes) -> str:
    """Return a line of a script that adds compressed bytes to the page's ``parts``."""
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f'(self.parts ??= {{}})["{name}"] = "{text}";\n'


def _as_script(module: str) -> str:
    """Return a JavaScript module as a script that puts its exports into ``ort``; browsers load no modules from disk."""
    body, _, exports = module.rpartition("export{")
    names = re.findall(r"([\w$]+) as (\w+)", exports.partition("}")[0])
    assert body and names  # the file was verified by its SHA-256
    properties = ",".join(f"{outer}:{inner}" for inner, outer in names)
    body = body.replace("import.meta.url", "here")
    return f'(() => {{"use strict";const here=document.currentScript.src;\n{body}self.ort={{{properties}}}}})();\n'

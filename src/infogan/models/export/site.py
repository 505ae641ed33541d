"""A page that runs the model in the browser: files for any server that gives out files, or to be opened from a disk.

Opened from a disk, a page may load scripts and nothing else. So all that it needs is a script: the model and the
machine code that runs it are text in one, packed with gzip. The same files serve wherever they are put; the page asks
for no other, and its policy lets it send nothing anywhere.
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
MODULES = (*(EXPLORER / name for name in ("dom.js", "state.js", "steer.js")), STATIC / "onnx.js", STATIC / "site.js")
NOTICE = f"""runtime.js and runtime.wasm.js are {PACKAGE} {VERSION} <https://github.com/microsoft/onnxruntime>,
the first as a script instead of a module, the second packed. ThirdPartyNotices.txt at that address names what they are
made of.

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def write(model: InfoGAN, folder: Path, runtime: str | Path | None = None) -> None:
    """Writes the page, ``index.html``, and its scripts.

    Args:
        model: What the page runs.
        folder: To write to.
        runtime: As for `runtime.read_runtime`.

    Raises:
        UserError: as `onnx.write` and `runtime.read_runtime`.
    """
    parts = read_runtime(None if runtime is None else Path(runtime))  # first, as it is soon said what is missing
    networks = "".join(_packed(name, content) for name, content in onnx.onnx_files(model).items())
    made = {
        "model.js": f"self.model = {json.dumps(describe(model))};\n{networks}",
        "runtime.js": _as_script(parts[SCRIPT].decode()),
        "runtime.wasm.js": _packed("runtime.wasm", parts[CODE]),
        "index.html": Template(_read(STATIC / "index.html")).substitute(steer=_read(EXPLORER / "steer.html")),
        "site.js": bundle(MODULES),
        "site.css": _read(EXPLORER / "explorer.css") + _read(STATIC / "site.css"),
        "icon.svg": _read(EXPLORER / "icon.svg"),
        "LICENSE.txt": NOTICE,
    }
    for name, text in made.items():
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


def _packed(name: str, content: bytes) -> str:
    """Bytes as a line of a script that puts them among the page's parts."""
    text = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f'(self.parts ??= {{}})["{name}"] = "{text}";\n'


def _as_script(module: str) -> str:
    """A module as a script that leaves what it exports in ``ort``: modules are not loaded from a disk."""
    body, _, exported = module.rpartition("export{")
    names = re.findall(r"([\w$]+) as (\w+)", exported.partition("}")[0])
    assert body and names  # the file is known by its SHA-256
    taken = ",".join(f"{outer}:{inner}" for inner, outer in names)
    body = body.replace("import.meta.url", "here")
    return f'(() => {{"use strict";const here=document.currentScript.src;\n{body}self.ort={{{taken}}}}})();\n'

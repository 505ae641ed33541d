"""Names for categories from a list of words, by a pretrained model of images and text."""

from pathlib import Path

import numpy as np

from infogan.api.evaluate_run import data_of_run
from infogan.data import Progress, streamed
from infogan.features import embed, open_extractor
from infogan.features.outliers import unit_vectors
from infogan.training.run_dir import RunFolder
from infogan.training.teacher import load_teacher
from infogan.utils.errors import UserError

PROMPT = "a photo of a {}"  # as models of images and text were trained on sentences


def suggest_names(run: RunFolder, words: list[str], progress: Progress | None = None) -> dict[int, str]:
    """Return the word that suits each category best, each word for one category at most (Kuhn 1955).

    A word suits a category if its text is nearer to the category's mean image than to those of the other categories.

    Args:
        run: A run that was trained with features of a model of images and text, such as ``open_clip:NAME/TAG``.
        words: The words; with fewer words than categories, some categories get none.
        progress: Called with the number of images whose vectors are known.

    Raises:
        UserError: The run was trained otherwise, the images are gone, or there are no words.

    Example:
        >>> suggest_names(RunFolder(Path("runs/00000-photos")), ["cat", "dog", "car"])
        {0: 'dog', 1: 'car', 2: 'cat'}
    """
    from scipy.optimize import linear_sum_assignment

    config, teacher = run.read_config(), load_teacher(run)
    if not words:
        raise UserError("there are no words to suggest: write one on each line")
    extractor = None
    if teacher is not None and config.features.source.startswith("open_clip:"):
        extractor = open_extractor(config.features.source, size=config.features.size)
    if teacher is None or extractor is None or extractor.embed_texts is None:
        raise UserError(
            f"{run.path} knows no words: only runs with features of images and text can suggest names, such as "
            "--features open_clip:ViT-B-32/laion2b_s34b_b79k"
        )
    data = data_of_run(run)
    with streamed(data.source, size=extractor.size, **data.reading_for_encoder) as stream:
        vectors = embed(stream, extractor, progress=progress).values
    categories = teacher.head.probabilities(vectors).argmax(axis=1)
    directions = unit_vectors(vectors)
    texts = unit_vectors(extractor.embed_texts([PROMPT.format(word) for word in words]))
    used = np.unique(categories)
    means = np.stack([directions[categories == category].mean(axis=0) for category in used])
    similarities = (means - means.mean(axis=0)) @ texts.T
    rows, columns = linear_sum_assignment(-similarities)
    return {int(used[row]): words[column] for row, column in zip(rows, columns, strict=True)}


def read_words(path: Path) -> list[str]:
    """Return the words in a text file, one on each line, without repetitions; raise UserError if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))

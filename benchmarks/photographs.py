"""Write a folder of colour photographs without a network: crops of the two photographs in scikit-learn.

    python -m benchmarks.photographs runs/photographs
    infogan train runs/photographs --size 64 --categorical 2 --seed 0

The crops differ in position and scale, as photographs of one thing do; the subfolders are the labels.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

CROPS = 500  # of each photograph
SIDES = (100, 200)  # of a crop, in pixels of the photograph
SIZE = 80  # of the files


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write; it gets a subfolder for each photograph")
    folder = parser.parse_args().folder
    random = np.random.default_rng(0)
    for name, photograph in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        height, width = photograph.shape[:2]
        for number in range(CROPS):
            side = int(random.integers(*SIDES))
            y, x = int(random.integers(height - side)), int(random.integers(width - side))
            crop = Image.fromarray(photograph[y : y + side, x : x + side])
            crop.resize((SIZE, SIZE)).save(folder / name / f"{number:03d}.jpg", quality=92)


if __name__ == "__main__":
    main()

"""Rendering of tables of generated images, and animations."""

import base64
import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infogan.explorer.render import NOISE, View, render_table, tiled_data_url
from infogan.models.groups import groups_of
from infogan.models.infogan import InfoGAN
from infogan.reports.figures import traversal_gif
from tests.helpers import small_model


def test_noise_varies_along_an_axis_and_is_blended() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    codes: dict[str, Any] = {"category": 1, "knob1": 0.5}
    samples = model.sample(9, codes=codes, seed=2).images
    table = render_table(model, View(codes=(1, 0.5), seed=2, across=NOISE, down=NOISE, columns=4, rows=2, pick=1))
    assert np.abs(table.images.reshape(8, 1, 8, 8).astype(int) - samples[1:9]).max() <= 1
    column = render_table(model, View(codes=(1, 0.5), seed=2, across=0, down=NOISE, columns=3, rows=4)).images[:, 1]
    assert np.abs(column.astype(int) - samples[:4]).max() <= 1
    for way, seed in ((0.0, 2), (1.0, 6)):
        blended = render_table(model, View(codes=(1, 0.5), seed=2, towards=6, way=way)).images[0, 0]
        assert np.abs(blended.astype(int) - model.sample(1, codes=codes, seed=seed).images[0]).max() <= 1


def test_axes_stay_within_the_range_of_a_code() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 5}, {"kind": "continuous"}])
    model.order_values("category", [4, 3, 2, 1, 0])
    cases: list[tuple[dict[str, Any], list[float], tuple[float, float]]] = [
        ({"across": 0, "columns": 3}, [3, 2, 1], (2.0, 0.0)),
        ({"across": 0, "columns": 3}, [4, 3, 2], (4.0, 0.0)),
        ({"across": 0, "columns": 9}, [4, 3, 2, 1, 0], (0.0, 0.0)),
        ({"across": 1, "columns": 3}, [-1, 0, 1], (0.0, 0.9)),
        ({"across": 1, "columns": 3, "zoom": 4}, [0.5, 0.75, 1], (0.0, 0.9)),
        ({"across": 1, "columns": 3, "zoom": 4}, [-1, -0.75, -0.5], (0.0, -1.0)),
        ({"across": 1, "columns": 1, "zoom": 4}, [0.9], (0.0, 0.9)),
    ]
    for axis, expected, codes in cases:
        assert render_table(model, View(codes=codes, **axis)).across == pytest.approx(expected)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"codes": "0"}, "1 code values"),
        ({"codes": "3,0"}, "takes 0 to 2"),
        ({"codes": "0,1.5", "across": "1"}, "from -1 to 1"),
        ({"codes": "0,0", "across": "2"}, "no code 2"),
        ({"codes": "0,0", "across": "1", "down": "1"}, "same code"),
        ({"codes": "0,0", "columns": "100", "rows": "100"}, "at most 256"),
        ({"codes": "0,0", "way": "nan"}, "way"),
    ],
)
def test_invalid_views_are_refused(query: dict[str, str], message: str) -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 3}, {"kind": "continuous"}])
    with pytest.raises(ValueError, match=message):
        render_table(model, View.model_validate({"across": "0", **query}))


def test_images_are_tiled_without_gaps() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 4, 4), dtype=np.uint8)
    content = base64.b64decode(tiled_data_url(images).removeprefix("data:image/png;base64,"))
    table = np.asarray(Image.open(io.BytesIO(content)))
    assert table.shape == (8, 12, 3)
    for row in range(2):
        for column in range(3):
            tile = table[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert np.array_equal(tile.transpose(2, 0, 1), images[row, column])


def test_animation_of_a_large_category_is_bounded() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 1000}])
    start = time.process_time()
    content = traversal_gif(model, "category", rows=1, limit=100)
    animation = Image.open(io.BytesIO(content))
    assert 1 < getattr(animation, "n_frames", 1) <= 198  # back and forth
    assert len(content) < 2**20
    assert time.process_time() - start < 30
    traversed: list[Any] = []

    class Recorded(InfoGAN):
        def traverse(self, code: str, **arguments: Any) -> Any:
            traversed.append(arguments["values"])
            return super().traverse(code, **arguments)

    model.order_values("category", [*range(999, -1, -1)])
    traversal_gif(Recorded(model.config, model.networks), "category", rows=1, limit=4)
    assert traversed == [[999, 666, 333, 0]]


def test_thousands_of_values_are_named_and_rendered_quickly() -> None:
    model = small_model(codes=[{"kind": "categorical", "size": 2000}])
    model.name_codes({"category": [f"name {value}" if value % 2 else "" for value in range(2000)]})
    assert model.value_names("category")[:4] == ["0", "name 1", "2", "name 3"]
    assert model.value_names("category") == [model.value_name("category", value) for value in range(2000)]
    start = time.process_time()
    for _ in range(5):
        groups_of(model, "category")
        render_table(model, View(codes=(0,), across=0, columns=200))
    assert time.process_time() - start < 5

"""Pictures put together from patches: where each patch comes from, what is left as paper, and the files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from helpers.commands import Zse
from helpers.demo import DEMO
from helpers.tiny import SELECTING, TINY, build
from zsecli.errors import UsageError, ZseError
from zsecli.explain.pair import encode_image, load_image
from zsecli.explain.synthesis import SynthesisOptions, render_view, synthesize
from zsecli.images.geometry import Frame
from zsecli.images.preprocess_rules import Preprocess
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.render.palette import grid_colours
from zsecli.render.synthesis_sheet import draw_source_map, write_synthesis, write_synthesis_sheet

GRID, PLACES, SIZE = (4, 4), 16, 64
Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def model() -> NetworkEmbedder:
    return NetworkEmbedder(build(TINY), torch.device("cpu"), [])


@pytest.fixture(scope="module")
def selecting() -> NetworkEmbedder:
    return NetworkEmbedder(build(SELECTING), torch.device("cpu"), [])


def noise(path: Path, seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> Path:
    """Squares of any colour, a quarter of a patch wide in a square picture."""
    cells = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(cells).resize(size, Image.Resampling.NEAREST).save(path)
    return path


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    """A sketch with strokes in its upper half alone."""
    image = Image.new("RGB", (SIZE, SIZE), "white")
    ImageDraw.Draw(image).rectangle((6, 6, 57, 25), None, "black", 2)
    image.save(tmp_path / "drawing.png")
    return tmp_path / "drawing.png"


def patch(picture: Image.Image | Bytes, place: int, grid: tuple[int, int] = GRID) -> Bytes:
    pixels = np.asarray(picture)
    rows, columns = np.array_split(range(len(pixels)), grid[0]), np.array_split(range(pixels.shape[1]), grid[1])
    row, column = divmod(place, grid[1])
    return np.asarray(pixels[np.ix_(rows[row], columns[column])])


def test_a_picture_gives_itself_back(model: NetworkEmbedder, tmp_path: Path) -> None:
    picture = noise(tmp_path / "a.png", 0)
    for blend in (False, True):
        result = synthesize(model, picture, [picture], SynthesisOptions(size=SIZE, blend=blend))
        assert np.array_equal(result.sources, np.stack([np.zeros(PLACES), np.arange(PLACES)], 1))
        assert (result.coverage, result.distinct) == (1, PLACES)
        assert result.mean_score == pytest.approx(float(result.scores.mean()))
        # blended too: what is averaged lies one on the other
        assert np.array_equal(result.picture, Image.open(picture))


@pytest.mark.parametrize("mutual", [False, True])
def test_patches_are_the_photos_own_pixels(model: NetworkEmbedder, tmp_path: Path, drawing: Path, mutual: bool) -> None:
    photos = [noise(tmp_path / f"{seed}.png", seed) for seed in (1, 2)]
    result = synthesize(model, drawing, photos, SynthesisOptions(size=SIZE, threshold=-1, mutual=mutual))
    for place, (photo, source) in enumerate(result.sources.tolist()):
        expected = np.full((16, 16, 3), 255) if photo < 0 else patch(Image.open(photos[photo]), source)
        assert np.array_equal(patch(result.picture, place), expected)
    for photo in range(len(photos)):
        places = result.sources[result.sources[:, 0] == photo, 1]
        assert not mutual or len({*places.tolist()}) == len(places) > 0
    assert result.coverage == result.taken.mean()


def test_strokes_only_leaves_blank_patches_as_paper(model: NetworkEmbedder, tmp_path: Path, drawing: Path) -> None:
    options = SynthesisOptions(strokes_only=True, threshold=-1, size=SIZE)
    result = synthesize(model, drawing, [noise(tmp_path / "a.png", 1)], options)
    assert result.queried.any()
    assert np.array_equal(result.taken, result.queried)
    assert not result.taken[PLACES // 2 :].any()
    assert result.coverage == 1
    assert np.all(np.asarray(result.picture)[SIZE // 2 :] == 255)


def test_nothing_is_above_a_cosine_of_1(model: NetworkEmbedder, tmp_path: Path, drawing: Path) -> None:
    result = synthesize(model, drawing, [noise(tmp_path / "a.png", 1)], SynthesisOptions(threshold=1.01, blend=True))
    assert (result.coverage, result.distinct) == (0, 0)
    assert np.isnan([result.mean_score, *result.scores]).all()
    assert np.all(result.sources == -1)
    assert np.all(np.asarray(result.picture) == 255)
    found = json.loads(write_synthesis(result, tmp_path / "out.png", {})[2].read_text())
    assert found["mean_score"] is None
    assert found["sources"] == found["scores"] == [None] * PLACES
    write_synthesis_sheet([result], tmp_path / "sheet.png")


def test_a_threshold_leaves_what_is_below(model: NetworkEmbedder, tmp_path: Path, drawing: Path) -> None:
    photo = noise(tmp_path / "a.png", 1)
    every = synthesize(model, drawing, [photo], SynthesisOptions(threshold=-1))
    middle = float(np.median(every.scores))
    some = synthesize(model, drawing, [photo], SynthesisOptions(threshold=middle))
    assert np.array_equal(some.taken, every.scores >= middle)
    assert 0 < some.coverage < 1


def test_of_several_photos_the_best(model: NetworkEmbedder, tmp_path: Path) -> None:
    sketch = noise(tmp_path / "sketch.png", 0)
    photos = [noise(tmp_path / f"{seed}.png", seed) for seed in (1, 2, 3)]
    options = SynthesisOptions(threshold=-1)
    alone = [synthesize(model, sketch, [photo], options) for photo in photos]
    together = synthesize(model, sketch, photos, options)
    scores = np.stack([one.scores for one in alone])
    assert np.array_equal(together.scores, scores.max(0))
    assert np.array_equal(together.sources[:, 0], scores.argmax(0))
    for place, (photo, source) in enumerate(together.sources.tolist()):
        assert source == alone[photo].sources[place, 1]
    # itself among them, at the end: it answers everything best
    assert set(synthesize(model, sketch, [*photos, sketch], options).sources[:, 0].tolist()) == {3}


@pytest.mark.parametrize("size", [1, 50, 130])
def test_blending_weights_add_up_to_1(model: NetworkEmbedder, tmp_path: Path, size: int) -> None:
    Image.new("RGB", (30, 70), (10, 200, 90)).save(tmp_path / "plain.png")
    options = SynthesisOptions(blend=True, threshold=-1, size=size)
    result = synthesize(model, noise(tmp_path / "a.png", 1), [tmp_path / "plain.png"], options)
    assert result.picture.size == (size, size)
    assert np.all(np.asarray(result.picture) == (10, 200, 90))


def test_patches_of_a_large_oblong_photo_are_its_own_and_sharp(
    model: NetworkEmbedder, tmp_path: Path, drawing: Path
) -> None:
    """Each patch of the photo is of one colour but for a line that the network's input cannot show."""
    shades = np.random.default_rng(5).integers(0, 256, (*GRID, 3), dtype=np.uint8)
    photo = Image.fromarray(shades).resize((1200, 400), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(photo)
    for column in range(4):
        draw.rectangle((column * 300 + 150, 0, column * 300 + 155, 399), "black")
    photo.save(tmp_path / "photo.png")
    result = synthesize(model, drawing, [tmp_path / "photo.png"], SynthesisOptions(threshold=-1, size=800))
    for place, source in enumerate(result.sources[:, 1].tolist()):
        found = patch(result.picture, place)
        assert np.array_equal(found[100, 40], shades.reshape(-1, 3)[source])
        assert found[100, 101].max() < 60


def test_places_that_selection_dropped_take_no_part(selecting: NetworkEmbedder, tmp_path: Path) -> None:
    sketch, photo = noise(tmp_path / "a.png", 1), noise(tmp_path / "b.png", 2)
    result = synthesize(selecting, sketch, [photo], SynthesisOptions(threshold=-1))
    sketch_side, _ = encode_image(selecting, load_image(sketch), "sketch")
    photo_side, _ = encode_image(selecting, load_image(photo), "photo")
    assert not sketch_side.kept.all()
    assert np.array_equal(result.taken, sketch_side.kept)
    assert photo_side.kept[result.sources[result.taken, 1]].all()
    assert result.coverage == sketch_side.kept.mean()


def test_a_view_shows_what_the_input_shows(tmp_path: Path) -> None:
    """A sketch is cut to its strokes and padded to a square, and a frame may reach beyond a photo."""
    crop = NetworkEmbedder(build(replace(TINY, preprocess=Preprocess(64, sketch="crop"))), torch.device("cpu"), [])
    image = Image.new("RGB", (300, 200), (250, 250, 250))
    ImageDraw.Draw(image).ellipse((100, 50, 140, 170), "red")
    side = encode_image(crop, image, "sketch")[0]
    assert np.abs(np.asarray(render_view(side, 64, 64), int) - side.pixels).mean() < 2
    photo = replace(encode_image(crop, Image.new("RGB", (64, 64), "blue"), "photo")[0], frame=Frame(-32, 0, 2, 1))
    photo.image.paste("yellow", (20, 20, 40, 40))
    shown = np.asarray(render_view(photo, 64, 64))
    assert np.all(shown[:, :16] == (0, 0, 255)) and np.all(shown[:, 48:] == (0, 0, 255))  # the border's colour
    assert np.array_equal(shown[30, 30], (255, 255, 0))


def test_files_agree_with_the_result(model: NetworkEmbedder, tmp_path: Path, drawing: Path) -> None:
    photos = [noise(tmp_path / f"{seed}.png", seed) for seed in (1, 2)]
    options = SynthesisOptions(strokes_only=True, size=100)
    result = synthesize(model, drawing, photos, options)
    paths = write_synthesis(result, tmp_path / "new" / "out.v1.png", {"name": "tiny"})
    assert [path.name for path in paths] == ["out.v1.png", "out.v1.map.png", "out.v1.json"]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    assert np.array_equal(Image.open(paths[0]), result.picture)
    assert np.array_equal(Image.open(paths[1]), draw_source_map(result))
    found = json.loads(paths[2].read_text())
    assert (found["schema"], found["version"], found["model"]) == ("zse-synthesis", "1.0", {"name": "tiny"})
    assert found["options"] == vars(options)
    assert [found["sketch"], *found["photos"]] == [path.as_posix() for path in (drawing, *photos)]
    assert found["grid"] == [*GRID]
    assert [source or [-1, -1] for source in found["sources"]] == result.sources.tolist()
    scores = [np.nan if score is None else score for score in found["scores"]]
    assert np.allclose(scores, result.scores, atol=1e-4, equal_nan=True)
    numbers = result.coverage, result.distinct, result.mean_score
    assert (found["coverage"], found["distinct"], found["mean_score"]) == pytest.approx(numbers, abs=1e-4)


def test_nothing_is_left_where_writing_fails(model: NetworkEmbedder, tmp_path: Path, drawing: Path) -> None:
    result = synthesize(model, drawing, [noise(tmp_path / "a.png", 1)])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TypeError):
        write_synthesis(result, tmp_path / "out.png", {"name": object()})  # type: ignore[dict-item]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_map_shows_where_a_patch_comes_from(model: NetworkEmbedder, tmp_path: Path) -> None:
    """Under the same grey, a patch of the sketch and its source have the same colour, and others have not."""
    picture = noise(tmp_path / "a.png", 0)
    drawn = np.asarray(draw_source_map(synthesize(model, picture, [picture])))
    left, top, step, side = 24, 24, 346, 336
    ours, theirs = drawn[top : top + side, left:][:, :side], drawn[top : top + side, left + step :][:, :side]
    assert np.array_equal(ours, theirs)
    assert len(np.unique(grid_colours((14, 14)), axis=0)) == 14 * 14


def test_a_sheet_has_a_row_for_each_result(model: NetworkEmbedder, tmp_path: Path, drawing: Path) -> None:
    photos = [noise(tmp_path / f"{seed}.png", seed) for seed in (1, 2)]
    results = [synthesize(model, drawing, photos[:count]) for count in (1, 2)]
    write_synthesis_sheet(results[:1], tmp_path / "one.png")
    write_synthesis_sheet(results, tmp_path / "two.png")
    one, two = (Image.open(tmp_path / name).convert("RGB") for name in ("one.png", "two.png"))
    assert two.height - one.height == 168 + 42
    assert two.width - one.width == 2 * (168 + 10)
    assert {path.name for path in tmp_path.iterdir()} == {"drawing.png", "1.png", "2.png", "one.png", "two.png"}


def test_synthesis_refuses_what_it_cannot_do(model: NetworkEmbedder, tmp_path: Path, drawing: Path) -> None:
    with pytest.raises(UsageError, match="no photo"):
        synthesize(model, drawing, [])
    with pytest.raises(UsageError, match="0 pixels"):
        synthesize(model, drawing, [drawing], SynthesisOptions(size=0))
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(ZseError, match=r"bad\.png"):
        synthesize(model, drawing, [tmp_path / "bad.png"])


def test_the_command_writes_pictures_of_their_own(zse: Zse, tmp_path: Path) -> None:
    """Photos of one name in two folders do not replace each other's result; the sheet has a row for each query."""
    sketch, names = DEMO / "sketch/animal-bird/1F413__fluent-hc.png", []
    for number, photo in enumerate(("1F413__noto.webp", "1F427__noto.webp")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "1.webp").write_bytes((DEMO / "photo/animal-bird" / photo).read_bytes())
        done = zse("synthesize", sketch, f"{number}/1.webp", "--size", 112, "--json", ZSE_MODEL="small")
        said = json.loads(done.ok())
        assert said["coverage"] == 1 and 0 < said["mean_score"] < 1 < said["distinct"]
        assert all((tmp_path / path).is_file() for path in said["paths"])
        names.append(said["path"])
    assert names[0] != names[1]
    both = zse("synthesize", sketch, "0/1.webp", "1/1.webp", "-o", "both.png", "--sheet", "s.png", ZSE_MODEL="small")
    assert both.ok() == "both.png"
    assert {source[0] for source in json.loads((tmp_path / "both.json").read_text())["sources"]} == {0, 1}
    with Image.open(tmp_path / "s.png") as opened:
        assert opened.height > 150
    zse("synthesize", sketch, "0/1.webp", "-o", "x.jpg", ZSE_MODEL="small").refused(2, "PNG")

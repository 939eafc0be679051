"""The one reader of pictures: odd metadata cost nothing, a large picture little memory, a hostile one its own place."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from helpers.commands import Zse
from helpers.tiny import LEAST, build
from helpers.wrong_pictures import HOUSE, saved
from zsecli.explain.pair import encode_file
from zsecli.images import tiles
from zsecli.images.decode import decode, is_blank
from zsecli.images.guess_modality import guess_modality
from zsecli.images.loader import ContentChanged, load_input, load_picture, read_full_size
from zsecli.images.memory import MemoryBudget
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess import make_input
from zsecli.images.preprocess_rules import Preprocess
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.render import explanation_json

COLOURS = Image.fromarray(np.random.default_rng(0).integers(256, size=(30, 40, 3), dtype=np.uint8)).resize((80, 60))
CROP = Preprocess(size=64, sketch="crop")


# --- odd metadata ----------------------------------------------------------------------------------------------------


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


SIX = entry(0x112, 3, 1, struct.pack("<H", 6))
ODD_EXIF = {
    "sound": [SIX],
    "XResolution of type undefined": [SIX, entry(0x11A, 7, 4, b"abcd")],
    "negative ImageWidth": [SIX, entry(0x100, 9, 1, struct.pack("<i", -5))],
    "Make as a fraction outside of the block": [entry(0x10F, 5, 1, struct.pack("<I", 60_000)), SIX],
    "a value that lies outside of the block": [SIX, entry(0x11A, 5, 1, struct.pack("<I", 60_000))],
    "a directory that lies outside of the block": [SIX, entry(0x8769, 4, 1, struct.pack("<I", 60_000))],
    "a type that there is not": [SIX, entry(0x11A, 99, 1, b"ab")],
    "two orientations": [entry(0x112, 3, 2, struct.pack("<HH", 6, 3))],
    "YCbCrPositioning of many values": [SIX, entry(0x213, 3, 2**31, b"ab")],
}
NO_TURN = {
    "orientation as text": [entry(0x112, 2, 2, b"6")],
    "orientation 0": [entry(0x112, 3, 1, struct.pack("<H", 0))],
    "orientation 9": [entry(0x112, 3, 1, struct.pack("<H", 9))],
    "negative orientation": [entry(0x112, 9, 1, struct.pack("<i", -6))],
    "bytes": [entry(0x112, 7, 1, b"\6")],
}


def exif(entries: list[bytes], count: int | None = None) -> bytes:
    """An EXIF block, whose directory may claim another number of entries than it has."""
    directory = struct.pack("<H", len(entries) if count is None else count) + b"".join(entries) + bytes(4)
    return b"Exif\0\0II*\0\x08\0\0\0" + directory


def segment(kind: int, content: bytes) -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments: bytes) -> bytes:
    whole = saved(COLOURS, "JPEG", quality=95)
    return whole[:2] + b"".join(segments) + whole[2:]


def chunk(kind: bytes, content: bytes, spoilt: bool = False) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ spoilt)


def png(*chunks: bytes, behind: bool = False) -> bytes:
    """A PNG with more chunks in front of its pixels or behind them."""
    whole = saved(COLOURS)
    at = len(whole) - 12 if behind else 33
    return whole[:at] + b"".join(chunks) + whole[at:]


def tiff(*entries: bytes, **options: Any) -> bytes:
    """A TIFF whose directory, at its end, has more entries."""
    whole = saved(COLOURS, "TIFF", **options)
    (start,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, start)
    own = [whole[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    every = sorted([*own, *entries], key=lambda one: struct.unpack("<H", one[:2])[0])
    directory = struct.pack("<H", len(every)) + b"".join(every) + bytes(4)
    return whole[:4] + struct.pack("<I", len(whole)) + whole[8:] + directory


def same_pixels(data: bytes, wanted: bytes, turn: Image.Transpose | None = None) -> bool:
    expected = Image.open(io.BytesIO(wanted)).convert("RGB")
    if turn is not None:
        expected = expected.transpose(turn)
    return np.array_equal(decode(data).convert("RGB"), expected)


@pytest.mark.parametrize("name", ODD_EXIF)
def test_odd_exif_leaves_picture_and_orientation(name: str) -> None:
    block = exif(ODD_EXIF[name])
    assert same_pixels(jpeg(segment(0xE1, block)), jpeg(), Image.Transpose.ROTATE_270)
    assert same_pixels(png(chunk(b"eXIf", block[6:])), png(), Image.Transpose.ROTATE_270)
    assert same_pixels(png(chunk(b"eXIf", block[6:]), behind=True), png(), Image.Transpose.ROTATE_270)
    webp = [saved(COLOURS, "WEBP", lossless=True, **more) for more in ({"exif": block}, {})]
    assert same_pixels(webp[0], webp[1], Image.Transpose.ROTATE_270)


@pytest.mark.parametrize("name", NO_TURN)
def test_invalid_orientations_turn_nothing(name: str) -> None:
    block = exif(NO_TURN[name])
    assert same_pixels(jpeg(segment(0xE1, block)), jpeg())
    assert same_pixels(png(chunk(b"eXIf", block[6:])), png())
    assert same_pixels(tiff(*NO_TURN[name]), saved(COLOURS, "TIFF"))


@pytest.mark.parametrize(
    "block",
    [exif([SIX])[:9], exif([SIX])[:20], exif([SIX], 900), exif([], 3), b"Exif\0\0", b"Exif\0\0" + b"\xff" * 30],
    ids=["no directory", "half a directory", "too few entries", "no entries", "empty", "no EXIF"],
)
def test_a_broken_exif_block_costs_no_picture(block: bytes) -> None:
    assert decode(jpeg(segment(0xE1, block))).size in ((80, 60), (60, 80))
    assert decode(png(chunk(b"eXIf", block[6:]))).size in ((80, 60), (60, 80))


@pytest.mark.parametrize("turn", [1, 3, 6])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_odd_tags_of_a_tiff_cost_no_picture(turn: int, compression: str | None) -> None:
    """Make as a number, over which Pillow stumbles where it turns the picture."""
    odd = tiff(entry(0x112, 3, 1, struct.pack("<H", turn)), entry(0x10F, 11, 1, b"abcd"), compression=compression)
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}
    assert same_pixels(odd, saved(COLOURS, "TIFF"), turns.get(turn))


BOMB = zlib.compress(bytes(2 * 2**20), 9)
ODD_CHUNKS = {
    "text of megabytes": chunk(b"zTXt", b"workflow\0\0" + BOMB),
    "international text of megabytes": chunk(b"iTXt", b"workflow\0\1\0\0\0" + BOMB),
    "a colour profile of megabytes": chunk(b"iCCP", b"profile\0\0" + BOMB),
    "a colour profile of no known kind": chunk(b"iCCP", b"profile\0\7abc"),
    "half a resolution": chunk(b"pHYs", b"\0\0\1"),
    "half a gamma": chunk(b"gAMA", b"\0"),
    "half an animation": chunk(b"acTL", b"\0"),
    "a wrong checksum beside the pixels": chunk(b"tEXt", b"a\0b", spoilt=True),
}


@pytest.mark.parametrize("name", ODD_CHUNKS)
@pytest.mark.parametrize("behind", [False, True])
def test_odd_chunks_of_a_png_cost_no_picture(name: str, behind: bool) -> None:
    turned = chunk(b"eXIf", exif([SIX])[6:])
    assert same_pixels(png(turned, ODD_CHUNKS[name], behind=behind), png(), Image.Transpose.ROTATE_270)


@pytest.mark.parametrize("at", range(4, 60, 7))
def test_a_broken_index_of_a_phones_two_pictures_costs_no_picture(at: int) -> None:
    whole = saved(COLOURS, "MPO", save_all=True, append_images=[COLOURS])
    broken = bytearray(whole)
    broken[whole.index(b"MPF\0") + at] ^= 0x7F
    assert same_pixels(bytes(broken), whole)


def test_damaged_pixels_are_still_damaged() -> None:
    turned = chunk(b"eXIf", exif([SIX])[6:])
    broken = bytearray(png(turned, ODD_CHUNKS["half a gamma"]))
    broken[broken.index(b"IDAT") + 40] ^= 0xFF
    with pytest.raises(PictureError, match="damaged"):
        decode(bytes(broken))
    with pytest.raises(PictureError, match="damaged"):
        decode(jpeg(segment(0xE1, exif(ODD_EXIF["negative ImageWidth"])))[:-900])


def test_odd_metadata_through_the_commands(zse: Zse, tmp_path: Path) -> None:
    """What `prepare` takes is embedded, alike whatever the metadata are."""
    for modality in ("sketch", "photo"):
        (tmp_path / "t" / modality / "a").mkdir(parents=True)
    (tmp_path / "t/sketch/a/s.png").write_bytes(saved(HOUSE))
    for number, name in enumerate(ODD_EXIF):
        (tmp_path / f"t/photo/a/{number}.jpg").write_bytes(jpeg(segment(0xE1, exif(ODD_EXIF[name]))))
    (tmp_path / "t/photo/a/chunk.png").write_bytes(png(*ODD_CHUNKS.values()))
    zse("prepare", "folder", "t").ok()
    for words in ((), ("t/photo", "--modality", "photo")):
        with h5py.File(tmp_path / zse("embed", *words).ok()) as file:
            names = [name.rpartition("/")[2] for name in file["items/id"].asstr()[:]]
            photos = [row for row, name in enumerate(names) if name.endswith(".jpg")]
            ret = file["ret"][:]
        assert len(photos) == len(ODD_EXIF)
        assert (ret[photos] == ret[photos[0]]).all()


# --- large pictures --------------------------------------------------------------------------------------------------


def large_png(path: Path, width: int, height: int) -> None:
    """A drawing lit from one side, in a few hundred kilobytes."""
    light = np.linspace(250, 90, width).astype(np.uint8)
    dark = light.copy()
    dark[width // 4 : width // 2] = 20
    packer = zlib.compressobj(1)
    part = [packer.compress(b"".join(b"\0" + row.tobytes() for _ in range(height // 4))) for row in (light, dark)]
    rows = [*part, packer.compress((b"\0" + light.tobytes()) * (height - 2 * (height // 4))), packer.flush()]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"".join(rows)) + chunk(b"IEND", b""))


LOAD = """
import resource, sys
from pathlib import Path
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess_rules import Preprocess
from zsecli.images.loader import load_input

def load(room):
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + room * 2**20, -1))
    try:
        loaded = load_input(Path(sys.argv[1]), "sketch", Preprocess(64, sketch="crop"))
    except PictureError as error:
        return error
    return loaded.changes, loaded.image.size

print(load(int(sys.argv[2])), load(20), sep=chr(10))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
def test_a_large_sketch_lit_from_one_side_takes_little_memory(tmp_path: Path) -> None:
    """60 megapixels took 2.7 GB. Where even its pixels do not fit it says so, and nothing else is lost."""
    large_png(tmp_path / "large.png", 8000, 7500)
    command = [sys.executable, "-c", LOAD, tmp_path / "large.png", "400"]
    env = {"OPENBLAS_NUM_THREADS": "1", "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    taken = "(('evened',), (4000, 3750))"
    assert done.stdout.splitlines() == [taken, "60 megapixels, for which the memory does not suffice"], done.stderr


def test_a_picture_beyond_the_budget_costs_its_own_place(zse: Zse, tmp_path: Path) -> None:
    """A row takes memory too; and a WebP of 100 megapixels would take 1.6 GB."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 170_000_000, 8, 0, 0, 0, 0))
    thin = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "thin.png").write_bytes(thin)
    (tmp_path / "good.png").write_bytes(saved(HOUSE))
    for words in (("--modality", "sketch"), ()):
        done = zse("embed", "good.png", "thin.png", *words)
        assert done.code == 4
        assert done.err.startswith("skipped: thin.png: takes 1.9 GiB of memory to be read, more than 1 GiB")
        with h5py.File(tmp_path / done.out.strip()) as file:
            assert file["skipped"].asstr()[0] == ""


DRAWING = ImageOps.expand(HOUSE.resize((640, 480)), (130, 150, 50, 90), fill=255)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "L"), ("PNG", "1"), ("PNG", "LA"), ("GIF", "P"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "CMYK"),
     ("TIFF", "I;16"), ("TIFF", "F"), ("WEBP", "RGBA")],
)  # fmt: skip
def test_a_reduced_picture_makes_nearly_the_same_input(form: str, mode: str, turned: bool) -> None:
    image = DRAWING.transpose(Image.Transpose.ROTATE_90) if turned else DRAWING
    image = image.convert("F").point(lambda v: v * 250).convert("I;16") if mode == "I;16" else image.convert(mode)
    exif_six = Image.Exif()
    exif_six[0x112] = 6
    more = {"exif": exif_six} if turned and form != "GIF" else {}
    data = saved(image, form, **more)
    whole, reduced = decode(data), decode(data, 200_000)
    assert reduced.width * reduced.height <= 200_000 < whole.width * whole.height
    apart = make_input(reduced, "sketch", CROP).astype(int) - make_input(whole, "sketch", CROP)
    assert np.abs(apart).mean() < 6


def test_a_large_picture_is_reduced_and_its_frame_leads_back(tmp_path: Path) -> None:
    """As if it had been saved at half its size."""
    loaded = []
    for size in ((7000, 6000), (3500, 3000)):
        large_png(tmp_path / "x.png", *size)
        loaded.append(load_input(tmp_path / "x.png", "sketch", CROP))
        assert loaded[-1].image.size == (3500, 3000)
        assert read_full_size(tmp_path / "x.png", loaded[-1].image) == size
    assert np.abs(loaded[0].pixels.astype(int) - loaded[1].pixels).max() < 4
    for corner in ((0, 0), (64, 64)):
        one, other = (found.frame.to_picture(np.array([corner], float))[0] for found in loaded)
        assert one.tolist() == pytest.approx(other.tolist(), abs=2)


def test_an_explanation_of_a_large_picture_is_in_its_own_pixels(tmp_path: Path) -> None:
    Image.new("L", (9000, 4500), 200).save(tmp_path / "large.png", compress_level=1)
    side, _ = encode_file(NetworkEmbedder(build(LEAST), torch.device("cpu"), []), tmp_path / "large.png", "photo")
    described = explanation_json.describe_side(side)
    assert side.image.size == (4500, 2250)
    assert (described["width"], described["height"]) == (9000, 4500)
    assert np.array(described["boxes"]).max(0).tolist()[2:] == [9000, 4500]


def test_the_guess_looks_at_a_reduced_copy(tmp_path: Path) -> None:
    drawing, photo = DRAWING.resize((2700, 2400)), COLOURS.resize((2700, 2400))
    for name, image in (("sketch", drawing), ("photo", photo)):
        image.save(tmp_path / f"{name}.jpg")
        assert guess_modality(tmp_path / f"{name}.jpg") == name


def test_no_picture_of_ordinary_size_is_reduced(tmp_path: Path) -> None:
    data = saved(Image.new("1", (5792, 5792)))
    (tmp_path / "x.png").write_bytes(data)
    assert load_picture(tmp_path / "x.png").size == (5792, 5792)


def test_transparency_and_deep_grey_are_decided_for_the_whole_picture() -> None:
    """Tiles by themselves would be laid on white and on black, and each would have its own white."""
    corner = Image.new("LA", (1500, 1500), (255, 0))
    corner.paste((255, 255), (1400, 1400, 1450, 1450))
    laid = np.asarray(decode(saved(corner, compress_level=1)))
    assert (laid[0, 0].tolist(), laid[1425, 1425].tolist()) == ([0, 0, 0], [255, 255, 255])
    values = np.zeros((1500, 1500), np.int32)
    values[0, 0], values[1499, 1499] = 100, 510
    deep = np.asarray(decode(saved(Image.fromarray(values), "TIFF")))
    assert (deep[0, 0], deep[1499, 1499]) == (0, 2)  # white is 65535
    assert not is_blank(corner)
    assert is_blank(Image.new("LA", (1500, 1500), (255, 0)))


@pytest.mark.parametrize("size", [(1, 1), (2500, 900), (1, 1_100_000), (1_100_000, 1), (1031, 1033)])
@pytest.mark.parametrize("most", [10**9, 900_000, 1000, 1])
def test_tiles_are_the_whole(size: tuple[int, int], most: int) -> None:
    image = Image.effect_noise((500, 500), 90).resize(size)
    factors = tiles.find_factors(size, most)
    found = tiles.map_tiles(image, ImageOps.invert, factors)
    assert found.width * found.height <= most
    assert np.array_equal(found, ImageOps.invert(image).reduce(factors))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: jpeg(b"\xff\xfe\0\2" * 20_000), "more than 16384 segments"),
        (lambda: strips(200_000), "more than 131072 strips"),
        (lambda: strips(200_000, big=True), "more than 131072 strips"),
    ],
    ids=["segments", "strips", "strips of a BigTIFF"],
)
def test_a_small_file_does_not_take_minutes(make: Callable[[], bytes], reason: str) -> None:
    data, start = make(), time.process_time()
    with pytest.raises(PictureError, match=reason):
        decode(data)
    assert time.process_time() - start < 0.5


def strips(count: int, big: bool = False) -> bytes:
    """A TIFF of one row a strip; as a BigTIFF if asked."""
    entries = [(256, 1, 8), (257, 1, count), (258, 1, 8), (259, 1, 1), (262, 1, 1), (273, count, 400), (277, 1, 1),
               (278, 1, 1), (279, count, 400 + 4 * count)]  # fmt: skip
    if big:
        directory = struct.pack("<Q", len(entries)) + b"".join(struct.pack("<HHQQ", t, 4, n, v) for t, n, v in entries)
        head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16)
    else:
        directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", t, 4, n, v) for t, n, v in entries)
        head = b"II*\0" + struct.pack("<I", 16) + bytes(8)
    return (head + directory).ljust(400, b"\0") + struct.pack("<I", 8) * count + struct.pack("<I", 8) * count


# --- the budget ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_no_more_is_held_at_once_than_there_is(shared: bool) -> None:
    budget, held, most = MemoryBudget(100, shared), [0], []

    def work(size: int) -> None:
        with budget.hold(size):
            held[0] += size
            most.append(held[0])
            time.sleep(0.001)
            held[0] -= size

    threads = [threading.Thread(target=work, args=(size,)) for size in [40, 30, 100, 1, 500, 60, 30, 20] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(most) == len(threads)
    alone = [total for total in most if total >= 500]
    assert alone == [500] * 4  # more than there is: read alone
    assert max(total for total in most if total < 500) <= 100


def test_worker_processes_share_one_budget(zse: Zse, tmp_path: Path) -> None:
    for number in range(6):
        HOUSE.rotate(5 * number, fillcolor=255).save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(6)]
    alone = zse("embed", *names, "--modality", "sketch", "-o", "a.h5").ok()
    several = zse("embed", *names, "--modality", "sketch", "-o", "b.h5", "--workers", "2").ok()
    with h5py.File(tmp_path / alone) as one, h5py.File(tmp_path / several) as other:
        assert np.array_equal(one["ret"], other["ret"])


def test_a_file_that_changes_while_it_is_read_is_no_picture_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(HOUSE))
    with pytest.raises(ContentChanged):
        load_input(tmp_path / "a.png", "sketch", CROP, sha256=bytes(32))

"""Whatever lies on the disk ends as a picture or as one sentence."""

import io
import itertools
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import ExifTags, Image, ImageCms

from arzhang import images
from arzhang.images import Picture
from arzhang.rng import generator
from arzhang.types import ArzhangError, MisuseError

PALETTE = [255, 0, 0, 0, 255, 0, 0, 0, 255]
UPRIGHT = {2: np.fliplr, 3: lambda a: a[::-1, ::-1], 4: np.flipud, 6: lambda a: np.rot90(a, -1), 8: np.rot90}


def noise(*shape, depth=8):
    levels = torch.randint(2**depth, shape, generator=generator(0, "noise", *shape))
    return levels.numpy().astype(np.uint8 if depth == 8 else np.uint16)


def encode(image, format, **options):  # noqa: A002
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def read(content):
    return images.read(io.BytesIO(content))


def joined(picture):
    return picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png16(samples, *, before=b"", after=b""):
    """Write a 16-bit PNG, which Pillow cannot, with further chunks before and after its pixels."""
    H, W, C = samples.shape
    header = struct.pack(">IIBBBBB", W, H, 16, {1: 0, 2: 4, 3: 2, 4: 6}[C], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def lzw(content):
    """Write LZW codes that never refer back: a byte is its code of nine bits, and the table is often cleared."""
    codes = [code for i, byte in enumerate(content) for code in ([256, byte] if i % 200 == 0 else [byte])]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def tiff16(samples, *, order="<", compression=1, predictor=1, planar=1, orientation=1):
    """Write a 16-bit TIFF, which Pillow cannot, as one strip or a strip for each channel."""
    H, W, C = samples.shape
    planes = np.split(samples, C, axis=2) if planar == 2 else [samples]
    if predictor == 2:
        planes = [np.concatenate([plane[:, :1], np.diff(plane, axis=1)], axis=1) for plane in planes]
    compress = {1: bytes, 5: lzw, 8: zlib.compress}[compression]
    strips = [compress(plane.astype(order + "u2").tobytes()) for plane in planes]
    offsets = [8, *(8 + np.cumsum([len(strip) for strip in strips]))]
    tags = {
        256: [W],
        257: [H],
        258: [16] * C,
        259: [compression],
        262: [2 if C > 2 else 1],
        273: offsets[:-1],
        274: [orientation],
        277: [C],
        278: [H],
        279: [len(strip) for strip in strips],
        284: [planar],
        317: [predictor],
    } | ({338: [2]} if C == 4 else {})
    directory, further = b"", b""
    for tag, values in sorted(tags.items()):
        content = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            place = offsets[-1] + 2 + 12 * len(tags) + 4 + len(further)
            content, further = struct.pack(order + "I", place), further + content
        directory += struct.pack(order + "HHI", tag, 4, len(values)) + content
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", offsets[-1])
    return start + b"".join(strips) + struct.pack(order + "H", len(tags)) + directory + bytes(4) + further


# Modes


@pytest.mark.parametrize(
    ("mode", "format", "channels"),
    [
        ("1", "PNG", 1),
        ("L", "PNG", 1),
        ("LA", "PNG", 2),
        ("RGB", "PNG", 3),
        ("RGBA", "PNG", 4),
        ("1", "TIFF", 1),
        ("L", "TIFF", 1),
        ("LA", "TIFF", 2),
        ("RGB", "TIFF", 3),
        ("RGBA", "TIFF", 4),
        ("1", "BMP", 1),
        ("L", "BMP", 1),
        ("RGB", "BMP", 3),
    ],
)
def test_eight_bits_are_read_as_they_are(mode, format, channels):  # noqa: A002
    samples = noise(5, 7, channels)
    if mode == "1":
        samples = np.where(samples > 127, np.uint8(255), np.uint8(0))
    image = Image.fromarray(samples[..., 0] if channels == 1 else samples).convert(mode, dither=Image.Dither.NONE)
    picture = read(encode(image, format))
    assert picture.pixels.dtype == np.uint8
    assert np.array_equal(joined(picture), samples)


def test_a_palette_becomes_its_colours():
    indices = noise(5, 7) % 3
    image = Image.fromarray(indices)
    image.putpalette(PALETTE)
    picture = read(encode(image, "PNG"))
    assert picture.alpha is None
    assert np.array_equal(picture.pixels, np.reshape(PALETTE, (3, 3))[indices])


@pytest.mark.parametrize(("transparency", "alphas"), [(1, [255, 0, 255]), (b"\x10\x20\x30", [16, 32, 48])])
def test_a_palette_keeps_its_transparency(transparency, alphas):
    indices = noise(5, 7) % 3
    image = Image.fromarray(indices)
    image.putpalette(PALETTE)
    picture = read(encode(image, "PNG", transparency=transparency))
    assert np.array_equal(picture.pixels, np.reshape(PALETTE, (3, 3))[indices])
    assert np.array_equal(picture.alpha, np.array(alphas)[indices])


@pytest.mark.parametrize(("channels", "invisible"), [(1, 3), (3, (1, 2, 3))])
def test_the_invisible_colour_of_a_png_becomes_alpha(channels, invisible):
    samples = noise(5, 7, channels)
    samples[2, 3] = invisible
    image = Image.fromarray(samples.squeeze())
    picture = read(encode(image, "PNG", transparency=invisible))
    assert np.array_equal(picture.pixels, samples)
    assert np.array_equal(picture.alpha == 0, (samples == invisible).all(axis=2))


@pytest.mark.parametrize("ink", [0, 255])
def test_cmyk_of_a_jpeg_is_not_inverted(ink):
    image = Image.new("CMYK", (8, 8), (0, 0, 0, ink))
    picture = read(encode(image, "JPEG", quality=100))
    assert np.abs(picture.pixels.astype(int) - (255 - ink)).max() <= 2


@pytest.mark.parametrize("mode", ["PA", "La", "RGBa", "RGBX", "YCbCr", "HSV"])
def test_rarer_modes_are_shown_as_pillow_shows_them(mode):
    image = Image.new("RGBA", (4, 3), (200, 100, 50, 255))
    steps = {"La": ("LA", "La"), "PA": ("P", "PA")}.get(mode, ("RGB", mode) if mode in {"YCbCr", "HSV"} else (mode,))
    for step in steps:
        image = image.convert(step)
    shown = np.asarray(image.convert("LA" if mode == "La" else "RGBA"))
    assert np.array_equal(images.from_pil(image).pixels, shown[..., :-1])


def test_the_first_of_several_frames_is_read():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for format in ("PNG", "WEBP", "TIFF"):  # noqa: A001
        options = {"lossless": True} if format == "WEBP" else {}
        content = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(read(content).pixels[0, 0], [255, 0, 0])


# Depth


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_16_bits_is_read_in_full(channels):
    samples = noise(5, 7, channels, depth=16)
    picture = read(png16(samples))
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(joined(picture), samples)


@pytest.mark.parametrize(("compression", "predictor"), [(1, 1), (5, 1), (5, 2), (8, 1), (8, 2)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tiff_of_16_bits_is_read_in_full(channels, order, compression, predictor):
    samples = noise(5, 7, channels, depth=16)
    picture = read(tiff16(samples, order=order, compression=compression, predictor=predictor))
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(joined(picture), samples)


@pytest.mark.parametrize("compression", [1, 8])
def test_separate_planes_of_16_bits_are_refused_and_not_garbled(compression):
    with pytest.raises(ArzhangError, match="separate planes"):
        read(tiff16(noise(5, 7, 3, depth=16), planar=2, compression=compression))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_invisible_colour_of_16_bits_becomes_alpha(channels):
    samples = noise(5, 7, channels, depth=16)
    invisible = chunk(b"tRNS", samples[2, 3].astype(">u2").tobytes())
    picture = read(png16(samples, before=invisible))
    assert np.array_equal(picture.pixels, samples)
    assert np.array_equal(picture.alpha == 0, (samples == samples[2, 3]).all(axis=2))
    assert picture.alpha.max() == 65535


def test_integers_of_32_bits_that_fit_16_are_kept():
    samples = noise(5, 7, depth=16)
    assert np.array_equal(read(encode(Image.fromarray(samples.astype(np.int32)), "TIFF")).pixels[..., 0], samples)


@pytest.mark.parametrize("number", [-1, 65536])
def test_integers_beyond_16_bits_are_refused(number):
    with pytest.raises(ArzhangError, match=rf"{number}.* 0 to 65535 was expected"):
        read(encode(Image.new("I", (2, 2), number), "TIFF"))


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_numbers_without_black_and_white_are_refused(mode):
    with pytest.raises(ArzhangError, match=f"mode is {mode}"):
        read(encode(Image.new(mode, (2, 2)), "TIFF"))


# Orientation


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(format, orientation):  # noqa: A002
    samples = np.zeros((16, 32, 3), np.uint8)
    samples[:8, :16] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = encode(Image.fromarray(samples), format, exif=exif)
    picture = read(content)
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert picture.pixels.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
    assert picture.pixels[corner[orientation]].min() > 200
    assert (picture.pixels > 127).mean() == 0.25


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_and_alpha_are_turned_upright(channels, orientation):
    samples = noise(5, 7, channels, depth=16)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    turned = chunk(b"eXIf", exif.tobytes()[6:])
    contents = [png16(samples, before=turned)] + [tiff16(samples, orientation=orientation)] * (channels != 2)
    for content in contents:
        assert np.array_equal(joined(read(content)), UPRIGHT[orientation](samples))


def test_the_size_is_that_of_what_is_read(tmp_path):
    exif = Image.Exif()
    for format, orientation in itertools.product(("JPEG", "PNG", "WEBP", "TIFF"), (1, 3, 6)):  # noqa: A001
        exif[ExifTags.Base.Orientation] = orientation
        path = tmp_path / "picture"
        path.write_bytes(encode(Image.new("RGB", (7, 5)), format, exif=exif))
        assert images.size_of(path) == images.read(path).pixels.shape[:2] == ((7, 5) if orientation == 6 else (5, 7))


def test_metadata_behind_the_pixels_turn_neither_the_size_nor_the_picture(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "late.png"
    path.write_bytes(png16(noise(5, 7, 1, depth=16), after=chunk(b"eXIf", exif.tobytes()[6:])))
    assert images.size_of(path) == images.read(path).pixels.shape[:2] == (5, 7)


def test_the_size_needs_no_pixels(tmp_path):
    path = tmp_path / "header.png"
    path.write_bytes(encode(Image.fromarray(noise(50, 70)), "PNG")[:60])
    assert images.size_of(path) == (50, 70)
    with pytest.raises(ArzhangError, match=r"header.png is damaged"):
        images.read(path)


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0"])
def test_broken_exif_does_not_spoil_a_picture(exif):
    image = Image.new("L", (8, 4), 255)
    assert read(encode(image, "JPEG", exif=exif)).pixels.shape == (4, 8, 1)
    assert read(encode(image, "PNG", exif=exif)).pixels.shape == (4, 8, 1)


# Colour


def profile(name):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def test_an_srgb_profile_changes_nothing():
    samples = noise(32, 32, 4)
    picture = read(encode(Image.fromarray(samples), "PNG", icc_profile=profile("sRGB")))
    assert np.array_equal(joined(picture), samples)


def test_another_profile_is_converted_to_srgb():
    swapped = bytearray(profile("sRGB"))
    red, green = swapped.index(b"rXYZ"), swapped.index(b"gXYZ")
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    assert np.array_equal(read(encode(image, "PNG", icc_profile=bytes(swapped))).pixels[0, 0], [0, 255, 0])


@pytest.mark.parametrize("icc_profile", [b"nonsense", b"", profile("sRGB")[:200], profile("LAB")])
def test_an_unsound_or_unfitting_profile_is_ignored(icc_profile):
    samples = noise(4, 4, 3)
    assert np.array_equal(read(encode(Image.fromarray(samples), "PNG", icc_profile=icc_profile)).pixels, samples)


# Bad files


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_named(tmp_path, format):  # noqa: A002
    content = encode(Image.fromarray(noise(64, 64, 3)), format)
    path = tmp_path / "half"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArzhangError, match=r"half .*; .*\.$"):
        images.read(path)


@pytest.mark.parametrize("content", [b"", b"Dear picture,\nI am a letter."])
def test_an_empty_file_and_a_letter_are_named(tmp_path, content):
    path = tmp_path / "letter.png"
    path.write_bytes(content)
    found = r"begins with b'Dear pic'" if content else "is empty"
    for look in (images.read, images.size_of):
        with pytest.raises(ArzhangError, match=rf"letter.png {found}.*; give a PNG"):
            look(path)


def test_a_format_outside_the_five_is_refused(tmp_path):
    path = tmp_path / "disguised.png"
    path.write_bytes(encode(Image.new("L", (4, 4)), "GIF"))
    with pytest.raises(ArzhangError, match=r"disguised.png begins with b'GIF87a"):
        images.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArzhangError, match=r"cannot be opened \(.*No such file.*nowhere.png"):
        images.read(tmp_path / "nowhere.png")


def test_a_folder_is_not_a_picture(tmp_path):
    with pytest.raises(ArzhangError, match=r"is a folder or a device; give a PNG"):
        images.read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ArzhangError, match=r"pipe.png is a folder or a device"):
        images.read(tmp_path / "pipe.png")


def test_an_unreadable_file_is_named(tmp_path):
    path = tmp_path / "locked.png"
    path.write_bytes(encode(Image.new("L", (4, 4)), "PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ArzhangError, match=r"locked.png cannot be opened"):
        images.read(path)


def test_a_link_to_itself_is_named(tmp_path):
    path = tmp_path / "circle.png"
    path.symlink_to(path)
    with pytest.raises(ArzhangError, match=r"circle.png cannot be opened"):
        images.read(path)


def test_a_stream_is_named_too():
    with pytest.raises(ArzhangError, match="The stream is empty"):
        read(b"")


def empty_png(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BOMB = """
import resource, sys
from pathlib import Path
from arzhang import images
from arzhang.types import ArzhangError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    for look in (images.read, images.size_of):
        try:
            look(Path(path))
        except ArzhangError as error:
            print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_bombs_are_refused_with_little_memory(tmp_path):
    bombs = {tmp_path / "large.png": (20_000, 20_000), tmp_path / "just.png": (10_001, 10_000)}
    for path, size in bombs.items():
        path.write_bytes(empty_png(*size))
    run = subprocess.run([sys.executable, "-c", BOMB, *bombs], capture_output=True, text=True, check=True)
    *errors, kibibytes = run.stdout.splitlines()
    sentence = " has more than the 100,000,000 pixels that a picture may have; make it smaller."
    assert errors == [f"{path}{sentence}" for path in bombs for _ in range(2)]
    assert int(kibibytes) < 20_000


def test_a_picture_above_the_warning_of_pillow_and_below_the_limit_is_let_in(tmp_path):
    path = tmp_path / "panorama.png"
    path.write_bytes(empty_png(20_000, 5_000))
    assert images.size_of(path) == (5_000, 20_000)


def small_files():
    image = Image.fromarray(noise(9, 11, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    yield from (encode(image, format, exif=exif) for format in ("PNG", "JPEG", "WEBP", "TIFF"))  # noqa: A001
    yield encode(image, "BMP")
    yield encode(image.quantize(4), "PNG")
    yield encode(image, "JPEG", progressive=True, icc_profile=profile("sRGB"))
    yield encode(image, "TIFF", compression="tiff_lzw")
    yield encode(image, "TIFF", compression="jpeg")
    yield png16(noise(9, 11, 4, depth=16))
    yield tiff16(noise(9, 11, 3, depth=16), compression=8, predictor=2)


@settings(max_examples=400, deadline=None)
@given(
    content=st.sampled_from(list(small_files())),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=8),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_flipped_and_missing_bytes_end_in_a_picture_or_a_sentence(content, flips, keep):
    damaged = bytearray(content)
    for place, flip in flips:
        damaged[int(place * len(damaged))] ^= flip
    try:
        picture = read(bytes(damaged[: int(keep * len(damaged))]))
    except ArzhangError as error:
        assert str(error).startswith("The stream ")  # noqa: PT017
    else:
        assert picture.pixels.shape[2] in {1, 3}


# Tensors


def test_all_levels_of_8_bits_survive_the_tensor():
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    picture = Picture(pixels=np.repeat(samples, 3, axis=2), alpha=samples[..., 0])
    tensor = images.to_tensor(picture, channels=4)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    back = images.from_tensor(tensor[:3], alpha=tensor[3])
    assert np.array_equal(joined(back), joined(picture))


def test_a_tensor_survives_8_bits_within_half_a_level():
    tensor = torch.rand(3, 20, 30, generator=generator(0, "tensor")) * 2 - 1
    back = images.to_tensor(images.from_tensor(tensor), channels=3)
    assert (back - tensor).abs().max() <= 0.5 / 127.5 + 1e-6


def test_a_tensor_outside_the_range_is_clamped():
    assert images.from_tensor(torch.tensor([[[-3.0, 3.0]]])).pixels.ravel().tolist() == [0, 255]


def test_16_bits_reach_both_ends_and_keep_their_depth():
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    tensor = images.to_tensor(Picture(pixels=samples, alpha=None), channels=1)
    assert np.array_equal(((tensor[0].double() + 1) * 32767.5).round().numpy(), samples[..., 0])
    assert (tensor.min(), tensor.max()) == (-1, 1)


def test_channels_are_made_from_what_there_is():
    red = Picture(pixels=np.array([[[255, 0, 0]]], np.uint8), alpha=None)
    grey = Picture(pixels=np.array([[[51]]], np.uint8), alpha=np.array([[0]], np.uint8))
    assert images.to_tensor(red, channels=1).item() == pytest.approx(2 * 0.299 - 1, abs=1e-6)
    assert images.to_tensor(red, channels=4).ravel().tolist() == [1, -1, -1, 1]
    assert images.to_tensor(grey, channels=3).ravel().tolist() == pytest.approx([-0.6] * 3)
    assert images.to_tensor(grey, channels=4).ravel().tolist() == pytest.approx([-0.6] * 3 + [-1])
    white = Picture(pixels=np.full((1, 1, 3), 255, np.uint8), alpha=None)
    assert images.to_tensor(white, channels=1).item() == pytest.approx(1, abs=1e-6)


def test_impossible_channels_are_misuse():
    with pytest.raises(MisuseError, match="2 channels were asked for"):
        images.to_tensor(Picture(pixels=noise(2, 2, 3), alpha=None), channels=2)
    with pytest.raises(MisuseError, match=r"4 channels.*alpha=image\[3\]"):
        images.from_tensor(torch.zeros(4, 2, 2))


def test_resizing_keeps_a_plane_and_the_range():
    constant = images.resize(torch.full((3, 40, 30), 0.25), height=7, width=50)
    assert constant.shape == (3, 7, 50)
    assert torch.allclose(constant, torch.tensor(0.25))
    edges = torch.ones(1, 8, 8)
    edges[..., ::3] = -1
    assert images.resize(edges, height=32, width=32).abs().max() <= 1


def test_resizing_down_does_not_alias():
    stripes = torch.ones(1, 64, 64)
    stripes[..., ::2] = -1
    assert images.resize(stripes, height=8, width=8)[..., 1:-1].abs().max() < 0.05


# Finding


def test_pictures_are_found_in_natural_order(tmp_path):
    names = ["1/b.JPG", "2.jpg", "10.jpg", "A9.tiff", "a10.webp", "a b'<script>.png", "ارژنگ ۲.bmp", "ارژنگ ۱۲.bmp"]
    others = [".hidden.png", ".git/object.png", "1/.x/y.png", "notes.txt", "png"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in images.find(tmp_path)] == names


def test_a_loop_of_links_is_not_followed(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert images.find(tmp_path) == [tmp_path / "a.png"]


def test_a_missing_folder_and_a_file_are_named(tmp_path):
    (tmp_path / "file").touch()
    for name, found in (("nowhere", "No such file"), ("file", "Not a directory")):
        with pytest.raises(ArzhangError, match=rf"{name} cannot be listed \({found}.*; give a folder"):
            images.find(tmp_path / name)


def test_an_unreadable_folder_below_is_named(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read everything; the missing folder takes the same path")
    with pytest.raises(ArzhangError, match="locked cannot be listed"):
        images.find(tmp_path)


# Writing


@pytest.mark.parametrize("suffix", sorted(images.SUFFIXES))
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_written_is_read_again(tmp_path, suffix, channels):
    samples = noise(16, 12, channels)
    if suffix in {".jpg", ".jpeg"}:
        samples = np.full_like(samples, 100)
    picture = Picture(
        pixels=samples[..., : 3 if channels > 2 else 1], alpha=samples[..., -1] if channels in {2, 4} else None
    )
    path = tmp_path / f"ارژنگ '<script>{suffix.upper()}"
    if picture.alpha is not None and suffix in {".jpg", ".jpeg", ".bmp"}:
        with pytest.raises(MisuseError, match="choose PNG, WebP or TIFF"):
            images.write(picture, path)
        assert not list(tmp_path.iterdir())
        return
    images.write(picture, path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    again = images.read(path)
    assert np.array_equal(*np.broadcast_arrays(again.pixels, picture.pixels))
    assert (again.alpha is None) == (picture.alpha is None)
    if picture.alpha is not None:
        assert np.array_equal(again.alpha, picture.alpha)


def test_grey_of_16_bits_is_written_in_full_where_it_can_be(tmp_path):
    picture = Picture(pixels=noise(16, 12, 1, depth=16), alpha=None)
    for suffix in sorted(images.SUFFIXES):
        path = tmp_path / f"grey{suffix}"
        images.write(picture, path)
        again = images.read(path)
        if suffix in {".png", ".tif", ".tiff"}:
            assert np.array_equal(again.pixels, picture.pixels)
        elif suffix in {".webp", ".bmp"}:
            assert np.abs(again.pixels[..., :1] * 257.0 - picture.pixels).max() <= 128


def test_16_bits_become_the_nearest_8():
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    image = images.to_pil(Picture(pixels=samples, alpha=samples[..., 0]))
    assert image.mode == "RGBA"
    assert np.abs(np.asarray(image)[..., 0] * 257.0 - samples[..., 0]).max() <= 128


def test_a_stream_needs_a_format():
    picture = Picture(pixels=noise(4, 4, 3), alpha=None)
    for format, found in ((None, "''"), ("gif", "'.gif'")):  # noqa: A001
        with pytest.raises(MisuseError, match=rf"format {found}; choose one of .bmp"):
            images.write(picture, io.BytesIO(), format=format)
    stream = io.BytesIO()
    images.write(picture, stream, format="PNG")
    assert np.array_equal(read(stream.getvalue()).pixels, picture.pixels)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    picture = Picture(pixels=noise(4, 4, 3), alpha=None)
    wide = Picture(pixels=np.zeros((1, 20_000, 3), np.uint8), alpha=None)
    path = tmp_path / "picture.webp"
    images.write(picture, path)
    (tmp_path / "folder.png").mkdir()
    for bad, target in ((wide, path), (picture, tmp_path / "folder.png"), (picture, tmp_path / "no" / "x.png")):
        with pytest.raises(ArzhangError, match=rf"{target.name} cannot be written \(.*; choose"):
            images.write(bad, target)
    assert np.array_equal(images.read(path).pixels, picture.pixels)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder.png", "picture.webp"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
def test_a_full_disk_is_a_sentence():
    with Path("/dev/full").open("wb", buffering=0) as stream, pytest.raises(ArzhangError, match="No space left"):
        images.write(Picture(pixels=noise(4, 4, 3), alpha=None), stream, format="png")


def test_pil_images_go_through_unchanged():
    for channels in (1, 2, 3, 4):
        samples = noise(5, 7, channels)
        picture = images.from_pil(Image.fromarray(samples[..., 0] if channels == 1 else samples))
        assert np.array_equal(joined(picture), samples)
        assert np.array_equal(joined(images.from_pil(images.to_pil(picture))), samples)


# What feature extractors look at


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_extractors_are_given_8_bits_of_three_channels(channels, depth):
    pixels = noise(4, 5, channels, depth=depth)
    seen = images.to_rgb(Picture(pixels=pixels, alpha=np.zeros_like(pixels[..., 0])))
    assert seen.shape == (3, 4, 5)
    assert seen.is_contiguous()
    expected = pixels if depth == 8 else np.rint(pixels / 257).astype(np.uint8)
    assert (seen.permute(1, 2, 0).numpy() == expected).all()


def test_what_extractors_are_given_is_theirs_to_change():
    picture = Picture(pixels=np.zeros((2, 2, 1), np.uint8), alpha=None)
    images.to_rgb(picture).fill_(7)
    assert picture.pixels.max() == 0


def test_reading_in_many_threads_leaves_the_filters_of_warnings_as_they_were(tmp_path):
    Image.fromarray(noise(9, 9, 3)).save(tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(40):
            list(pool.map(images.read, [tmp_path / "a.png"] * 8))
    assert warnings.filters == before
    with images.quiet:
        assert len(warnings.filters) == len(before) + 1
        images.read(tmp_path / "a.png")
        assert len(warnings.filters) == len(before) + 1
    assert warnings.filters == before

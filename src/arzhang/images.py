"""The one safe door through which every picture passes.

On disk a picture is a PNG, JPEG, WebP, TIFF or BMP file of 8 or 16 bits; here it is a `Picture`, upright and with its
alpha kept apart; inside the package it is a float32 tensor in [-1, 1]. Whatever the bytes, reading ends in a `Picture`
or in an `ArzhangError` that names the file.
"""

import io
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from PIL import ExifTags, Image, ImageCms, ImageFile, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from arzhang import files
from arzhang.types import ArzhangError, MisuseError

MAX_PIXELS = 100_000_000  # 1.2 GB as a float32 tensor of three channels

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
SUFFIXES = frozenset(_FORMATS)

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True, "quality": 0},  # the effort: six times faster than 80, as small
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
}
_WITH_ALPHA = {"PNG", "WEBP", "TIFF"}
_WITH_16_BITS = {"PNG", "TIFF"}
_EXPECTED = "a PNG, JPEG, WebP, TIFF or BMP file"
_TURNS = {  # EXIF orientation -> what makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LUMA = (0.299, 0.587, 0.114)  # Rec. 601

Stream: TypeAlias = BinaryIO | io.BytesIO  # one and the same, but not to beartype
Samples: TypeAlias = UInt8[np.ndarray, "H W C"] | UInt16[np.ndarray, "H W C"]
Plane: TypeAlias = UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What a file shows, upright, at the depth it was stored with.

    Args:
        pixels: One channel (grey) or three (sRGB).
        alpha: Opacity, the largest value for opaque; None where the file has none.
    """

    pixels: Samples
    alpha: Plane | None


@final
class _Quiet:
    """Silences Pillow's warnings until the last reader in any thread is done: Python's filters belong to all of them.

    If each reader set them aside by itself, one could put back what another had set, and so for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._before.__exit__(None, None, None)


quiet = _Quiet()
"""A context for whoever reads in many threads: ``with quiet: ...`` around all of it changes the filters once."""


def find(folder: Path) -> list[Path]:
    """List the pictures below a folder, known by their suffix, in natural order ("2.jpg" before "10.jpg").

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        ArzhangError: The folder, or one below it, cannot be listed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("10.jpg", "2.JPG", ".3.jpg", "notes.txt"):
        ...         (Path(folder) / name).touch()
        ...     [path.name for path in find(Path(folder))]
        ['2.JPG', '10.jpg']
    """

    def refuse(error: OSError) -> NoReturn:
        raise ArzhangError(
            f"{error.filename} cannot be listed ({error.strerror}); give a folder that exists and may be read."
        ) from error

    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted((path for path in found if path.suffix.lower() in SUFFIXES), key=_natural)


def size_of(path: Path) -> tuple[int, int]:
    """Return the height and width, in pixels, that a picture has once read; only its header is looked at.

    Raises:
        ArzhangError: The file is missing, not a picture, or larger than `MAX_PIXELS`.
    """
    with _door(path) as file:
        image = _header(file)
        return image.size if 5 <= _orientation(image) <= 8 else (image.height, image.width)


def read(source: Path | Stream) -> Picture:
    """Decode a picture, the first if there are several: 16 bits as they are stored, 8 bits as `from_pil` gives them.

    Raises:
        ArzhangError: The file is missing, not a picture, damaged, or larger than `MAX_PIXELS`.

    Example:
        >>> stream = io.BytesIO()
        >>> write(Picture(pixels=np.full((2, 3, 1), 7, np.uint8), alpha=None), stream, format="png")
        >>> read(io.BytesIO(stream.getvalue())).pixels.shape
        (2, 3, 1)
    """
    with _door(source) as file:
        image = _header(file)
        layout = _layout(image)
        if layout.startswith(("RGB;16", "RGBA;16", "RGBX;16", "LA;16")):
            return _picture(_sixteen_bits(file, layout), transparent=image.info.get("transparency"))
        return from_pil(image)


def from_pil(image: Image.Image) -> Picture:
    """Take over an image of any mode, turned upright if its EXIF says that it is not.

    Grey of 16 bits stays so. All else becomes 8 bits, colours in sRGB if a sound ICC profile says what they are.

    Raises:
        ArzhangError: The numbers of the image have no known black and white.
    """
    turn = _TURNS.get(_orientation(image))
    image = image.transpose(turn) if turn is not None else image
    if image.mode.startswith("I"):
        samples = np.asarray(image)[..., None]
        if samples.min() < 0 or samples.max() > 65535:
            found = f"{samples.min()} to {samples.max()}"
            raise ArzhangError(f"The numbers go from {found}, and 0 to 65535 was expected; rescale them to 16 bits.")
        return _picture(samples.astype(np.uint16), transparent=image.info.get("transparency"))
    if image.mode in {"F", "LAB"}:
        raise ArzhangError(f"The mode is {image.mode}, not grey or colour of 8 or 16 bits; convert it to one of these.")
    alpha = "A" if image.has_transparency_data else ""
    if image.mode in {"1", "L", "LA", "La"}:
        return _picture(np.atleast_3d(np.asarray(image.convert("L" + alpha))))
    if image.mode != "CMYK":  # a profile for inks needs the inks
        image = image.convert("RGB" + alpha)
    return _picture(np.asarray(_to_srgb(image).convert("RGB" + alpha)))


def to_pil(picture: Picture) -> Image.Image:
    """Hand a picture over in 8 bits; only grey of 16 bits without alpha, which Pillow can hold, stays as it is."""
    if picture.pixels.shape[2] == 3 or picture.alpha is not None:
        picture = _eight_bits(picture)
    samples = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def to_tensor(picture: Picture, *, channels: int) -> Float[Tensor, "C H W"]:
    """Bring a picture into [-1, 1]: x / 127.5 - 1 for 8 bits, x / 32767.5 - 1 for 16.

    Args:
        picture: Black becomes -1 and white 1, whatever the depth.
        channels: 1 for luma (Rec. 601), 3 for RGB, 4 for RGB and alpha (1 where opaque).

    Raises:
        MisuseError: Another number of channels is asked for.

    Example:
        >>> to_tensor(Picture(pixels=np.array([[[0], [255]]], np.uint8), alpha=None), channels=1)
        tensor([[[-1.,  1.]]])
    """
    if channels not in {1, 3, 4}:
        raise MisuseError(f"{channels} channels were asked for; ask for 1 (luma), 3 (RGB) or 4 (RGB and alpha).")
    image = _unit(picture.pixels)
    if channels == 1:
        return luma(image)
    image = image.expand(3, -1, -1)
    if channels == 3:
        return image.contiguous()
    alpha = torch.ones_like(image[:1]) if picture.alpha is None else _unit(picture.alpha[..., None])
    return torch.cat([image, alpha])


def to_rgb(picture: Picture) -> UInt8[Tensor, "3 H W"]:
    """Bring a picture to what feature extractors look at: 8 bits, 16 rounded to them, RGB without alpha.

    Example:
        >>> to_rgb(Picture(pixels=np.array([[[0], [65535]]], np.uint16), alpha=None))[:, 0].tolist()
        [[0, 255], [0, 255], [0, 255]]
    """
    pixels = _eight_bits(replace(picture, alpha=None)).pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.broadcast_to(pixels, (3, *pixels.shape[1:])).copy())


def luma(image: Float[Tensor, "C H W"]) -> Float[Tensor, "1 H W"]:
    """Return the brightness of an image (Rec. 601): its one channel, or the weighted mean of red, green and blue.

    Example:
        >>> luma(torch.ones(3, 1, 1)).item()
        1.0
    """
    return image if len(image) == 1 else torch.einsum("chw,c->hw", image, image.new_tensor(_LUMA))[None].clamp(-1, 1)


def from_tensor(image: Float[Tensor, "C H W"], *, alpha: Float[Tensor, "H W"] | None = None) -> Picture:
    """Bring an image, and its alpha, from [-1, 1] to 8 bits; what lies outside is clamped.

    Raises:
        MisuseError: The image has neither 1 nor 3 channels.

    Example:
        >>> from_tensor(torch.tensor([[[-1.0, 0.5, 7.0]]])).pixels.ravel().tolist()
        [0, 191, 255]
    """
    if len(image) not in {1, 3}:
        raise MisuseError(
            f"The image has {len(image)} channels, and a picture has 1 or 3; pass a fourth as alpha=image[3]."
        )
    return Picture(pixels=_levels(image.permute(1, 2, 0)), alpha=None if alpha is None else _levels(alpha))


def write(picture: Picture, target: Path | Stream, *, format: str | None = None) -> None:  # noqa: A002
    """Encode a picture, without loss where the format can (JPEG: quality 95, full chroma), at the depth of `to_pil`.

    A file appears whole or not at all.

    Args:
        picture: What to write.
        target: A file, replaced if it exists, or a stream.
        format: A suffix without its dot, such as "png"; by default that of the file.

    Raises:
        MisuseError: The format is unknown, or does not carry the alpha of the picture.
        ArzhangError: The disk or the format refuses.
    """
    suffix = f".{format.lower()}" if format else target.suffix.lower() if isinstance(target, Path) else ""
    if suffix not in SUFFIXES:
        raise MisuseError(f"{target} has the format {suffix!r}; choose one of {', '.join(sorted(SUFFIXES))}.")
    kind = _FORMATS[suffix]
    if picture.alpha is not None and kind not in _WITH_ALPHA:
        raise MisuseError(f"{target} would lose its alpha, which {kind} does not carry; choose PNG, WebP or TIFF.")
    if kind not in _WITH_16_BITS:
        picture = _eight_bits(picture)
    encoded = io.BytesIO()
    try:
        to_pil(picture).save(encoded, format=kind, **_SAVE_OPTIONS[kind])
        if isinstance(target, Path):
            files.write_whole(target, encoded.getvalue())
        else:
            target.write(encoded.getvalue())
    except (OSError, ValueError) as error:
        raise ArzhangError(
            f"{target} cannot be written ({error}); choose a folder that exists, has space and may be written, or a "
            "format that holds this size."
        ) from error


def resize(image: Float[Tensor, "C H W"], *, height: int, width: int) -> Float[Tensor, "C {height} {width}"]:
    """Resample with an antialiased bicubic kernel, clamped to [-1, 1].

    Example:
        >>> resize(torch.zeros(3, 64, 64), height=16, width=24).shape
        torch.Size([3, 16, 24])
    """
    size = (height, width)
    return functional.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(-1, 1)


@contextmanager
def _door(source: Path | Stream) -> Iterator[Stream]:
    """Open a source at its start; whatever goes wrong inside becomes an `ArzhangError` that names it."""
    name = source if isinstance(source, Path) else getattr(source, "name", "The stream")
    try:
        if isinstance(source, Path) and source.exists() and not source.is_file():
            raise ArzhangError(f"{name} is a folder or a device; give {_EXPECTED}.")  # opening a pipe would wait
        file = source.open("rb") if isinstance(source, Path) else io.BytesIO(source.read())
    except (OSError, ValueError) as error:
        raise ArzhangError(f"{name} cannot be opened ({error}); give {_EXPECTED} that may be read.") from error
    with file, quiet:
        try:
            yield file
        except ArzhangError as error:
            raise ArzhangError(f"{name} cannot be used: {error}") from error
        except UnidentifiedImageError as error:
            file.seek(0)
            start = file.read(8)
            found = f"begins with {start!r}, which is no picture or of an unknown kind" if start else "is empty"
            raise ArzhangError(f"{name} {found}; give {_EXPECTED}.") from error
        except Image.DecompressionBombError as error:
            raise ArzhangError(
                f"{name} has more than the {MAX_PIXELS:,} pixels that a picture may have; make it smaller."
            ) from error
        except Exception as error:
            raise ArzhangError(
                f"{name} is damaged ({error}), and a whole picture was expected; export it again or leave it out."
            ) from error


def _header(file: Stream) -> ImageFile.ImageFile:
    image = Image.open(file, formats=list(_SAVE_OPTIONS))
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    return image


def _orientation(image: Image.Image) -> int:
    """Return from the header how EXIF says that an image lies: 1 for upright, to 8."""
    # Pillow turns TIFF as it decodes, and its PNG would decode in search of metadata behind the pixels.
    with suppress(Exception):  # broken EXIF does not make the pixels worse
        return 1 if image.format == "TIFF" else int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    return 1


def _layout(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name for the samples as they lie in the file, such as "RGB;16B"."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode in {"RGB", "RGBA"}:
        separate = image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
        if separate and 16 in image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ()):
            raise ArzhangError("Its 16-bit channels lie in separate planes, which Pillow garbles; save it interleaved.")
    args = image.tile[0].args if image.tile else None
    return str(args[0] if isinstance(args, tuple) else args)


def _sixteen_bits(file: Stream, layout: str) -> UInt16[np.ndarray, "H W C"]:
    """Decode in full the 16-bit colour that Pillow opens as 8 bits.

    Its unpackers take one byte of each sample: the high one or, told the opposite byte order, the low one. So the file
    is decoded twice. A pixel of grey with alpha has four bytes, which pass whole as if they were RGBA.
    """

    def decode(layout: str) -> UInt8[np.ndarray, "H W C"]:
        image = _header(file)
        turn = _TURNS.get(_orientation(image))
        image.tile = [
            tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout)
            for tile in image.tile
        ]
        return np.asarray(image.transpose(turn) if turn is not None else image)

    if layout == "LA;16B":
        octets = decode("RGBA")
        high, low = octets[..., ::2], octets[..., 1::2]
    else:
        order = layout[-1].replace("N", sys.byteorder[0].upper())
        high, low = decode(layout), decode(layout[:-1] + {"B": "L", "L": "B"}[order])
    samples: UInt16[np.ndarray, "H W C"] = high.astype(np.uint16) << 8 | low
    return samples


def _to_srgb(image: Image.Image) -> Image.Image:
    mode = "RGB" if image.mode == "CMYK" else image.mode
    with suppress(KeyError, OSError, TypeError, ValueError):  # no profile, or an unsound one
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(profile, srgb, image.mode, mode).apply(image)
    return image


def _picture(samples: Samples, *, transparent: int | tuple[int, ...] | None = None) -> Picture:
    """Split samples into pixels and alpha; ``transparent`` is the one colour that a PNG may declare invisible."""
    if transparent is not None:
        opaque = (samples != np.array(transparent)).any(axis=2)
        return Picture(pixels=samples, alpha=(opaque * np.iinfo(samples.dtype).max).astype(samples.dtype))
    if samples.shape[2] % 2:
        return Picture(pixels=samples, alpha=None)
    return Picture(pixels=samples[..., :-1], alpha=samples[..., -1])


def _eight_bits(picture: Picture) -> Picture:
    if picture.pixels.dtype == np.uint8:
        return picture

    def halve(samples: np.ndarray) -> np.ndarray:
        return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)

    return Picture(pixels=halve(picture.pixels), alpha=None if picture.alpha is None else halve(picture.alpha))


def _unit(samples: Samples) -> Float[Tensor, "C H W"]:
    half = np.iinfo(samples.dtype).max / 2
    return torch.from_numpy(samples.astype(np.float32)).permute(2, 0, 1).contiguous() / half - 1


def _levels(image: Float[Tensor, "..."]) -> UInt8[np.ndarray, "..."]:
    levels = ((image.detach().clamp(-1, 1) + 1) * 127.5).round()
    return levels.to("cpu", torch.uint8).numpy()


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    pieces = [re.split(r"(\d+)", part.casefold()) for part in path.parts]
    return [[int(piece) if i % 2 else piece for i, piece in enumerate(part)] for part in pieces], str(path)

"""Pictures from anywhere become the same features, whatever their order, names, container, batch and threads."""

import gzip
import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from test_images import png16
from torch import nn
from torch.nn import functional as F

from arzhang import evidence, images, moments
from arzhang.data import facade
from arzhang.evidence import (
    Examples,
    Made,
    Options,
    _archives,
    _store,
    gather,
    moments_of,
    source,
    statistics_in,
)
from arzhang.images import Picture
from arzhang.rng import generator
from arzhang.types import ArzhangError, Extractor, MisuseError

CPU = torch.device("cpu")


class Thumbnail(nn.Module):
    """A copy of 4 x 4, and what a classifier by colour would say."""

    def __init__(self, name="thumbnail", **provenance):
        super().__init__()
        self.name = name
        self.provenance = {"resize": "mean", "weights": "none", **provenance}
        self.mix = nn.Conv2d(3, 3, 1, bias=False)
        self.mix.weight = nn.Parameter(torch.randn(3, 3, 1, 1, generator=generator(0, "mix")))
        self.looked = 0

    def prepare(self, picture):
        return F.adaptive_avg_pool2d(picture.float() / 255, 4)

    def forward(self, prepared):
        self.looked += len(prepared)
        return {"features": self.mix(prepared).flatten(1), "logits": prepared.mean((2, 3))}


class Silent(Thumbnail):
    """No classifier."""

    def forward(self, prepared):
        return {"features": super().forward(prepared)["features"]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ARZHANG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/features"


def noise(*shape, seed=0):
    return torch.randint(256, shape, generator=generator(seed, "noise")).numpy().astype(np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def encoded(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def look(path, extractor=None, *, cache=False, **options):
    return gather(source(path), extractor or Thumbnail(), Options(device=CPU, **options), cache=cache)


def assert_same(found, other):
    assert found.hashes == other.hashes
    assert found.provenance["digest"] == other.provenance["digest"]
    torch.testing.assert_close(found.features, other.features, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """1000 small pictures of mixed sizes, grey and in colour, in folders."""
    root = tmp_path_factory.mktemp("mixed")
    sizes = torch.randint(1, 24, (1000, 2), generator=generator(0, "sizes")).tolist()
    for i, (height, width) in enumerate(sizes):
        colours = () if i % 3 == 0 else (3,)
        save(root / f"{i % 7}/{i}.{'bmp' if i % 2 else 'png'}", noise(height, width, *colours, seed=i))
    return root


@pytest.fixture(scope="module")
def seen(mixed):
    return look(mixed)


@pytest.fixture
def folder(tmp_path):
    """Six pictures of one size."""
    for i in range(6):
        save(tmp_path / f"six/{'a' if i % 2 else 'b'}/{i}.png", noise(8, 6, 3, seed=i))
    return tmp_path / "six"


# What is seen


def test_the_extractor_here_is_one():
    assert isinstance(Thumbnail(), Extractor)


def test_a_thousand_pictures_of_mixed_sizes_are_seen_as_one_by_one(mixed, seen):
    found = seen
    assert len(set(found.names)) == len(found.hashes) == len(found.features) == 1000
    assert list(found.hashes) == sorted(found.hashes)
    extractor = Thumbnail()
    for name, features, logits in list(zip(found.names, found.features, found.logits, strict=True))[::50]:
        pixels = np.asarray(Image.open(mixed / name).convert("RGB")).copy()
        alone = extractor(extractor.prepare(torch.from_numpy(pixels).permute(2, 0, 1))[None])
        torch.testing.assert_close(features, alone["features"][0], atol=1e-6, rtol=0)
        torch.testing.assert_close(logits, alone["logits"][0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (7, 5), (64, 2), (2000, 3)])
def test_neither_batch_nor_threads_change_what_is_seen(mixed, seen, batch, threads):
    found = look(mixed, batch=batch, threads=threads)
    assert_same(found, seen)
    assert found.names == seen.names


def test_neither_names_nor_order_nor_format_change_what_is_seen(mixed, seen, tmp_path):
    for i, path in enumerate(reversed(images.find(mixed))):
        with Image.open(path) as picture:
            (tmp_path / "other").mkdir(exist_ok=True)
            picture.save(tmp_path / f"other/{i}.tiff")
    assert_same(look(tmp_path / "other"), seen)


def test_what_a_figure_rests_on_is_told(folder):
    provenance = look(folder).provenance
    assert len(provenance.pop("digest")) == 64
    assert provenance == {
        "resize": "mean",
        "weights": "none",
        "extractor": "thumbnail",
        "precision": "float32",
        "source": str(folder),
        "pictures": "6",
    }


def test_another_picture_is_another_digest_and_a_second_copy_too(folder):
    digests = [look(folder).provenance["digest"]]
    shutil.copy(folder / "a/1.png", folder / "copy.png")
    digests.append(look(folder).provenance["digest"])
    save(folder / "copy.png", noise(8, 6, 3, seed=99))
    digests.append(look(folder).provenance["digest"])
    assert len(set(digests)) == 3


def test_copies_are_told_apart_by_their_names(folder):
    for name in ("z", "m", "c"):
        shutil.copy(folder / "a/1.png", folder / f"{name}.png")
    found = look(folder, batch=2)
    same = [name for name, one in zip(found.names, found.hashes, strict=True) if found.hashes.count(one) > 1]
    assert same == ["a/1.png", "c.png", "m.png", "z.png"]


def test_no_classifier_gives_no_logits(folder):
    assert look(folder, Silent()).logits is None
    assert look(folder, Silent(), cache=True).logits is None
    assert look(folder, Silent(), cache=True).logits is None


def test_what_is_no_plain_rgb_is_made_so(tmp_path):
    red, half = (200, 0, 0), noise(4, 4, 3)
    save(tmp_path / "p/grey.png", half[..., 0])
    save(tmp_path / "p/alpha.png", np.dstack([half, half[..., 0]]))
    (tmp_path / "p/deep.png").write_bytes(png16(half.astype(np.uint16) * 257 + 100))
    Image.new("CMYK", (4, 4), (0, 255, 255, 55)).save(tmp_path / "p/ink.jpg", quality=100)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save(tmp_path / "p/turned.png", half, exif=exif)
    found = look(tmp_path / "p", Whole())
    seen = dict(zip(found.names, found.features.reshape(-1, 3, 4, 4).permute(0, 2, 3, 1).numpy(), strict=True))
    assert (seen["grey.png"] == half[..., :1]).all()
    assert (seen["alpha.png"] == half).all()
    assert (seen["deep.png"] == half).all()
    assert np.abs(seen["ink.jpg"] - red).max() <= 2
    assert (seen["turned.png"] == np.rot90(half, -1)).all()
    assert found.provenance["alpha dropped"] == "1"


class Whole(Silent):
    """The picture itself."""

    def prepare(self, picture):
        return picture.float()

    def forward(self, prepared):
        return {"features": prepared.flatten(1)}


def test_one_picture_is_evidence(tmp_path):
    save(tmp_path / "one/a.png", noise(5, 5, 3))
    assert look(tmp_path / "one").features.shape == (1, 48)


def test_constant_pictures_are_evidence(tmp_path):
    for i in range(3):
        save(tmp_path / f"black/{i}.png", np.zeros((5 + i, 5, 3), np.uint8))
    found = look(tmp_path / "black")
    assert found.features.abs().max() == 0
    assert len(set(found.hashes)) == 3  # of three sizes


def test_bfloat16_is_close_and_is_told(folder):
    exact, rounded = look(folder), look(folder, precision="bfloat16")
    assert rounded.features.dtype == torch.float32
    assert 0 < (rounded.features - exact.features).abs().max() < 0.05
    assert rounded.provenance["precision"] == "bfloat16"
    assert rounded.provenance["digest"] == exact.provenance["digest"]


def test_an_extractor_is_used_as_it_is_when_nothing_is_learnt(folder):
    extractor = Thumbnail()
    extractor.drop = nn.Dropout()
    assert extractor.drop.training
    look(folder, extractor)
    assert not extractor.drop.training


def test_progress_is_told_with_how_much_there_is(folder):
    lengths = []

    def track(pictures):
        for count, one in enumerate(pictures, 1):
            lengths.append((count, len(pictures) if hasattr(pictures, "__len__") else None))
            yield one

    look(folder, track=track, batch=4)
    assert lengths == [(i, 6) for i in range(1, 7)]
    lengths.clear()
    look(tarred(folder, folder.parent / "six.tar"), track=track)
    assert lengths == [(i, None) for i in range(1, 7)]


def test_threads_that_decode_take_no_cores_from_those_that_come_later(folder):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    look(folder)
    with evidence._stream._pool(1):
        pass
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert later == [2]


# What is bad


def test_an_empty_folder_is_a_sentence(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ArzhangError, match=r"holds no pictures; expected files ending in \.bmp, "):
        look(tmp_path)


def test_a_missing_path_and_a_pipe_are_sentences(tmp_path):
    with pytest.raises(ArzhangError, match=r"nowhere does not exist; give a folder"):
        source(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(ArzhangError, match=r"pipe\.zip is a device or a pipe"):
        source(tmp_path / "pipe.zip")


def test_another_file_is_a_sentence(tmp_path):
    (tmp_path / "a.rar").touch()
    with pytest.raises(MisuseError, match=r"a\.rar is none of what can be looked at; give a folder"):
        source(tmp_path / "a.rar")


@pytest.mark.parametrize("cache", [True, False])
def test_a_corrupt_picture_among_many_is_named(mixed, tmp_path, cache):
    shutil.copytree(mixed, tmp_path / "mixed")
    (tmp_path / "mixed/3/10.png").write_bytes(b"nothing")
    with pytest.raises(ArzhangError, match=r"3/10\.png begins with b'nothing'.* With --skip-bad it is left out"):
        look(tmp_path / "mixed", cache=cache)


def test_a_corrupt_picture_is_skipped_on_request_and_counted(folder, tmp_path):
    without = look(shutil.copytree(folder, tmp_path / "five", ignore=shutil.ignore_patterns("3.png")))
    (folder / "a/3.png").write_bytes((folder / "a/3.png").read_bytes()[:-30])
    with pytest.warns(UserWarning, match=r"Skipped: .*a/3\.png is damaged"):
        found = look(folder, skip_bad=True, cache=True, batch=2)
    assert_same(found, without)
    assert found.provenance["skipped"] == "1"
    assert found.provenance["pictures"] == "5"
    with pytest.raises(ArzhangError, match=r"a/3\.png is damaged"):  # what was skipped is not remembered as whole
        look(folder, cache=True)
    assert look(folder, skip_bad=True, cache=True).provenance == found.provenance


def test_nothing_but_corrupt_pictures_is_a_sentence(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    message = r"holds no pictures, and at least one was expected\. 1 could not be read, and were skipped"
    with pytest.warns(UserWarning, match="Skipped"), pytest.raises(ArzhangError, match=message):
        look(tmp_path, skip_bad=True)


def test_an_unreadable_pipe_among_the_pictures_is_named_and_not_waited_for(folder):
    os.mkfifo(folder / "a/pipe.png")
    with pytest.raises(ArzhangError, match=r"a/pipe\.png is a folder or a device"):
        look(folder, cache=True)


@pytest.mark.parametrize("answer", ["features", "logits"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_features_that_are_not_finite_name_their_picture(folder, number, answer):
    save(folder / "a/white.png", np.full((8, 6, 3), 255, np.uint8))

    class Broken(Thumbnail):
        def forward(self, prepared):
            answers = super().forward(prepared)
            answers[answer][prepared.flatten(1).min(1).values == 1] = number
            return answers

    with pytest.raises(ArzhangError, match=rf"The {answer} that thumbnail gives for a/white\.png are not finite"):
        look(folder, Broken(), skip_bad=True)


@pytest.mark.parametrize("options", [{"batch": 0}, {"threads": 0}, {"precision": "float64"}])
def test_options_out_of_range_are_misuse(folder, options):
    with pytest.raises((MisuseError, TypeError)):  # the second is beartype's, of a word that is none of them
        look(folder, **options)


def test_names_that_are_no_text_are_stored_all_the_same(tmp_path):
    save(tmp_path / "odd" / os.fsdecode(b"\xff.png"), noise(3, 3, 3))
    for _ in range(2):
        assert look(tmp_path / "odd", cache=True).names == ("\ufffd.png",)


# Archives


def zipped(folder, path, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def tarred(folder, path):
    with tarfile.open(path, f"w:{path.suffix.lstrip('.').replace('tar', '').replace('tgz', 'gz')}") as archive:
        archive.add(folder, arcname=".")
    return path


@pytest.mark.parametrize("name", ["a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_an_archive_is_seen_as_its_folder(folder, tmp_path, name):
    path = tmp_path / name
    (folder / "notes.txt").write_text("no picture")
    save(folder / ".hidden/a.png", noise(4, 4))
    (zipped if name.lower().endswith("zip") else tarred)(folder, path)
    found, plain = look(path, cache=True), look(folder)
    assert_same(found, plain)
    assert found.names == plain.names
    assert found.provenance["source"] == str(path)
    assert {file.name for file in tmp_path.iterdir()} == {name, "cache", "six"}  # nothing was unpacked


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_way_of_zipping_is_read(folder, tmp_path, kind):
    assert_same(look(zipped(folder, tmp_path / "a.zip", compression=kind)), look(folder))


def member(name, kind=tarfile.REGTYPE, content=b"", **about):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in about.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


def tar_of(path, *members):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, content)
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


NAMES = {
    "/etc/a.png": "has an absolute path",
    "\\a.png": "has an absolute path",
    "C:\\a.png": "has an absolute path",
    "../a.png": "has a path that leads out",
    "b/../../a.png": "has a path that leads out",
    "b\\..\\a.png": "has a path that leads out",
    "../notes.txt": "has a path that leads out",
    "a\x1b[2J.png": "has a name with control characters",
    "a\n.png": "has a name with control characters",
    "good.png": "is there twice",
    "./good.png": "is there twice",
}


@pytest.mark.parametrize(("name", "why"), NAMES.items())
@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_a_name_that_could_harm_is_refused(tmp_path, name, why, suffix):
    path, content = tmp_path / f"a.{suffix}", encoded(noise(3, 3, 3))
    if suffix == "zip":
        zip_of(path, ("good.png", content, 0o100644), (name, content, 0o100644))
    else:
        tar_of(path, member("good.png", content=content), member(name, content=content))
    with pytest.raises(ArzhangError) as caught:
        look(path, skip_bad=True)
    assert f"a.{suffix} is refused: its member {name!r} {why}" in str(caught.value)


def test_a_name_with_a_zero_byte_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", ("good.pngX.txt", encoded(noise(3, 3, 3)), 0))
    path.write_bytes(path.read_bytes().replace(b"good.pngX.txt", b"good.png\0.txt"))
    with pytest.raises(ArzhangError, match="control characters"):
        look(path)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    path = tar_of(tmp_path / "a.tar", member("good.png"), member("bad.png", kind, linkname="/etc/passwd"))
    with pytest.raises(ArzhangError, match=r"'bad\.png' is a link, a device or no plain file"):
        look(path, skip_bad=True)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    path = zip_of(tmp_path / "a.zip", ("bad.png", b"/etc/passwd", kind | 0o777))
    with pytest.raises(ArzhangError, match=r"'bad\.png' is a link or a device"):
        look(path)


def test_sparse_members_are_refused(tmp_path):
    sparse = member("bad.png", pax_headers={"GNU.sparse.size": str(10**15), "GNU.sparse.map": "0,1"}, content=b"a")
    with pytest.raises(ArzhangError, match=r"'bad\.png' (is a link, a device or no plain file|brings)"):
        look(tar_of(tmp_path / "a.tar", sparse))


def test_an_encrypted_member_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", ("good.png", encoded(noise(3, 3, 3)), 0))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ArzhangError, match=r"'good\.png' is encrypted"):
        look(path)


@pytest.mark.parametrize("name", ["zeros.png", "zeros.txt"])
@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_bomb_is_refused_before_it_goes_off(tmp_path, monkeypatch, name, suffix):
    monkeypatch.setattr(_archives, "HARMLESS", 1 << 20)
    path, zeros = tmp_path / f"a.{suffix}", bytes(1 << 23)
    if suffix == "zip":
        zip_of(path, ("first.png", encoded(noise(3, 3, 3)), 0), (name, zeros, 0))
    else:
        tar_of(path, member("first.png", content=encoded(noise(3, 3, 3))), member(name, content=zeros))
    with pytest.raises(
        ArzhangError, match=rf"'{name}' brings [\d,]+ bytes to 8,3[\d,]+ or more, as decompression bombs"
    ):
        look(path)


def test_a_header_that_is_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_archives, "HARMLESS", 1 << 20)
    path = tar_of(tmp_path / "a.tar.gz", member("a.png", pax_headers={"comment": "0" * (1 << 23)}))
    with pytest.raises(ArzhangError, match=r"brings [\d,]+ bytes to 1,[\d,]+ or more"):
        look(path)


def test_a_tar_of_zeros_is_refused_or_damaged_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(_archives, "HARMLESS", 1 << 20)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(1 << 24)))
    with pytest.raises(ArzhangError, match=r"holds no pictures|is damaged|brings"):
        look(tmp_path / "a.tar.gz")


def test_what_grows_little_may_be_large(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(_archives, "HARMLESS", 1)
    assert len(look(zipped(folder, tmp_path / "a.zip")).names) == 6


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("MAX_MEMBERS", 3, "is one of more than 3"),
        ("MAX_MEMBER", 10, "has more than the 10 bytes"),
        ("MAX_TOTAL", 300, r"bytes to [\d,]+ or more"),
    ],
)
def test_too_many_and_too_large_members_are_refused(folder, tmp_path, monkeypatch, suffix, limit, value, why):
    path = (zipped if suffix == "zip" else tarred)(folder, tmp_path / f"a.{suffix}")
    monkeypatch.setattr(_archives, limit, value)
    with pytest.raises(ArzhangError, match=rf"its member '.*' {why}|{why}"):
        look(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
@pytest.mark.parametrize("keep", [0, 10, 600, 1200, -700, -30])
def test_an_archive_that_is_cut_off_is_no_smaller_set(folder, tmp_path, name, keep):
    path = (zipped if name.endswith("zip") else tarred)(folder, tmp_path / name)
    whole = path.read_bytes()
    if name == "a.tar" and keep == -700:
        whole = whole.rstrip(b"\0")  # or the end would be cut in its padding
    path.write_bytes(whole[:keep])
    if name == "a.tar" and keep == -30:
        assert len(look(path).names) == 6  # the end's mark is there
        return
    with pytest.raises(ArzhangError, match=r"a\..*(is damaged|holds no pictures)"):
        look(path, skip_bad=True)


def test_a_damaged_header_amid_a_tar_is_not_taken_for_its_end(folder, tmp_path):
    path = tarred(folder, tmp_path / "a.tar")
    content = bytearray(path.read_bytes())
    content[content.index(b"./b/2.png") + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArzhangError, match=r"a\.tar is damaged \(bad checksum"):
        look(path)


def test_a_tar_that_is_cut_off_between_two_members_is_not_taken_for_whole(tmp_path):
    path = tar_of(tmp_path / "a.tar", member("a.png", content=encoded(noise(3, 3, 3))), member("b.png"))
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(ArzhangError, match=r"a\.tar is damaged \(it does not end after 'a.png' as it should\)"):
        look(path)


def test_what_is_no_archive_by_its_content_is_a_sentence(tmp_path):
    for name in ("a.zip", "a.tar", "a.tgz", "a.tar.bz2", "a.txz"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 100)
        with pytest.raises(ArzhangError, match="is damaged"):
            look(tmp_path / name)


def test_an_archive_without_pictures_is_a_sentence(tmp_path):
    with pytest.raises(ArzhangError, match="holds no pictures; expected members"):
        look(zip_of(tmp_path / "a.zip", ("notes.txt", b"", 0)))
    with pytest.raises(ArzhangError, match="holds no pictures; expected members"):
        look(tar_of(tmp_path / "a.tar", member("notes.txt")))


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_a_corrupt_picture_in_an_archive_is_named_or_skipped(folder, tmp_path, suffix):
    (folder / "a/3.png").write_bytes(b"nothing")
    path = (zipped if suffix == "zip" else tarred)(folder, tmp_path / f"a.{suffix}")
    with pytest.raises(ArzhangError, match=rf"'a/3\.png' in .*a\.{suffix} begins with b'nothing'"):
        look(path)
    with pytest.warns(UserWarning, match="Skipped"):
        assert look(path, skip_bad=True).provenance["skipped"] == "1"


def test_a_member_with_a_wrong_checksum_is_named_or_skipped(folder, tmp_path):
    path = zipped(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("a/3.png").header_offset + 60
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArzhangError, match=r"'a/3\.png' in .*a\.zip is damaged \(Bad CRC-32"):
        look(path)
    with pytest.warns(UserWarning, match="Skipped"):
        assert len(look(path, skip_bad=True).names) == 5


# Arrays


def written(path, array):
    np.save(path, array)
    return path


@pytest.fixture
def stack():
    return noise(5, 9, 7, 3)


@pytest.fixture
def plain(tmp_path, stack):
    for i, pixels in enumerate(stack):
        save(tmp_path / f"plain/{i}.png", pixels)
    return look(tmp_path / "plain")


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: x.transpose(0, 3, 1, 2),
        np.asfortranarray,
        lambda x: np.minimum(x.astype(np.uint32) * 257 + 100, 65535).astype(np.uint16),
        lambda x: (x.astype(">u2") * 257).astype(">u2"),
        lambda x: x.astype(np.float32),
        lambda x: x.astype(np.float32) / 255,
        lambda x: x.astype(np.float32) / 127.5 - 1,
        lambda x: np.concatenate([x, x[..., :1]], 3),
    ],
    ids=["last", "first", "Fortran", "16", "big end", "255", "unit", "signed", "alpha"],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_are_seen_as_files_of_the_same_pictures(tmp_path, stack, plain, form, suffix):
    path, array = tmp_path / f"a.{suffix}", form(stack)
    if suffix == "npy":
        np.save(path, array)
    else:
        np.savez_compressed(path, arr_0=array, labels=np.arange(5))
    found = look(path, cache=True)
    assert_same(found, plain)
    assert sorted(found.names) == ["0", "1", "2", "3", "4"]
    assert_same(look(path, cache=True), plain)
    assert found.provenance.get("alpha dropped") == ("5" if array.shape[3] == 4 else None)


def test_grey_arrays_become_three_channels(tmp_path):
    grey = noise(5, 9, 7)
    found = look(written(tmp_path / "a.npy", grey))
    assert_same(found, look(written(tmp_path / "b.npy", np.repeat(grey[..., None], 3, 3))))


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (noise(8, 8), "8 x 8; expected N x H x W"),
        (noise(8, 8, 3), "one picture in colour or many in grey"),
        (noise(3, 8, 8), "one picture in colour or many in grey"),
        (noise(5, 8, 8, 2), "5 x 8 x 8 x 2; expected"),
        (noise(5, 3, 8, 3), "may come first or last"),
        (noise(2, 2, 2, 3, 3), "expected N x H x W"),
        (np.uint8(7), "of one number"),
        (noise(0, 8, 8), "0 x 8 x 8, which is no picture"),
        (noise(5, 8, 8).astype(np.int64), "type int64; expected uint8"),
        (noise(5, 8, 8) > 9, "type bool; expected uint8"),
        (np.zeros((5, 8, 8), np.float32), "from 0 to 0, which can be understood in several ways"),
        (np.ones((5, 8, 8), np.float32), "from 1 to 1, which can be understood in several ways"),
        (np.full((5, 8, 8), 7.5, np.float32), "from 7.5 to 7.5, which"),
        (np.linspace(-2, 2, 320).reshape(5, 8, 8), "from -2 to 2, which"),
        (np.linspace(-0.5, -0.1, 320).reshape(5, 8, 8), "from -0.5 to -0.1, which"),
        (np.full((5, 8, 8), np.nan), "picture 0 that are not finite"),
        (np.array([[["a"]]]), "type <U1"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_that_may_mean_several_things_are_refused(tmp_path, array, why, suffix):
    (np.save if suffix == "npy" else np.savez)(tmp_path / f"a.{suffix}", array)
    with pytest.raises(ArzhangError) as caught:
        look(tmp_path / f"a.{suffix}")
    assert why in str(caught.value) or "0 arrays that may be pictures" in str(caught.value)


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", np.array([{}], object))
    for suffix in ("npy", "npz"):
        with pytest.raises(ArzhangError, match=r"cannot be read \(.*; expected a whole numpy file"):
            source(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("keep", [0, 5, 100, -50])
def test_a_numpy_file_that_is_cut_off_is_a_sentence(tmp_path, stack, suffix, keep):
    path = tmp_path / f"a.{suffix}"
    (np.save if suffix == "npy" else np.savez_compressed)(path, stack)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArzhangError, match=rf"a\.{suffix} cannot be read"):
        source(path)


def test_one_kind_of_numpy_file_by_the_name_of_another_is_a_sentence(tmp_path, stack):
    np.savez(tmp_path / "a.npz", stack)
    np.save(tmp_path / "b.npy", stack)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ArzhangError, match="cannot be read"):
            source(tmp_path / name)


def test_two_stacks_in_one_file_are_refused(tmp_path, stack):
    np.savez(tmp_path / "a.npz", real=stack, fake=stack)
    with pytest.raises(ArzhangError, match=r"2 arrays that may be pictures \(real, fake\), and one was expected"):
        source(tmp_path / "a.npz")


def test_an_npz_that_is_a_bomb_is_refused(tmp_path, stack, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", np.zeros((100, 100, 100), np.uint8))
    monkeypatch.setattr(evidence._arrays, "MAX_BYTES", 10_000)
    with pytest.raises(ArzhangError, match="becomes more than 10,000 bytes"):
        source(tmp_path / "a.npz")


def test_statistics_are_told_from_pictures(tmp_path, stack):
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(2), sigma=np.eye(2), n=7)
    np.savez(tmp_path / "pictures.npz", stack)
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    (tmp_path / "folder.npz").mkdir()
    names = ("statistics", "pictures", "damaged", "folder", "absent")
    assert [statistics_in(tmp_path / f"{name}.npz") for name in names] == [True, False, False, False, False]
    with pytest.raises(MisuseError, match=r"holds statistics \(mu and sigma\), not pictures"):
        source(tmp_path / "statistics.npz")


# Datasets, and what is made


def test_a_dataset_is_seen_through_one_of_its_tensors():
    dataset = facade.Config(count=4, held_out=3, size=32).build(seed=0).held_out
    found = gather(Examples(dataset, "target", name="facade"), Whole(), Options(device=CPU))
    expected = [images.from_tensor(dataset.example(i, None)["target"]).pixels.transpose(2, 0, 1) for i in range(3)]
    names = [dataset.name(i) for i in range(3)]
    for name, features in zip(found.names, found.features.numpy(), strict=True):
        assert (features == expected[names.index(name)].ravel()).all()
    assert found.provenance["source"] == "facade"
    source = gather(Examples(dataset, "source", name="facade"), Whole(), Options(device=CPU))
    assert source.provenance["digest"] != found.provenance["digest"]
    with pytest.raises(MisuseError, match=r"have no 'photo'; they have source, target"):
        Examples(dataset, "photo", name="facade")


class Stack:
    """A dataset of given tensors."""

    def __init__(self, *tensors):
        self._tensors = tensors

    def __len__(self):
        return len(self._tensors)

    def example(self, index, _):
        if isinstance(self._tensors[index], str):
            raise ArzhangError(self._tensors[index])
        return {"image": self._tensors[index]}

    def name(self, index):
        return f"example {index}"


def test_channels_of_examples_are_grey_colour_and_opacity():
    stack = Stack(*(torch.rand(channels, 4, 4) for channels in (1, 3, 4)))
    found = gather(Examples(stack, "image", name="stack"), Thumbnail(), Options(device=CPU))
    assert found.provenance["alpha dropped"] == "1"
    assert len(found.names) == 3


def test_a_dataset_without_examples_and_a_bad_example_are_sentences():
    with pytest.raises(ArzhangError, match="stack has no examples"):
        Examples(Stack(), "image", name="stack")
    with pytest.raises(ArzhangError, match=r"It is torn\. With --skip-bad"):
        gather(
            Examples(Stack(torch.zeros(3, 4, 4), "It is torn."), "image", name="s"), Thumbnail(), Options(device=CPU)
        )


def test_a_dataset_is_cached_by_what_it_shows(tmp_path):
    extractor, examples = Thumbnail(), torch.rand(3, 3, 8, 8)
    for _ in range(2):
        gather(Examples(Stack(*examples), "image", name="stack"), extractor, Options(device=CPU))
    assert extractor.looked == 3
    gather(Examples(Stack(*-examples), "image", name="stack"), extractor, Options(device=CPU))
    assert extractor.looked == 6


@pytest.mark.parametrize("count", [6, None])
def test_what_is_made_on_the_fly_is_seen_as_if_it_had_been_saved(folder, count):
    extractor, paths = Thumbnail(), images.find(folder)
    made = Made(lambda share: ((path.name, images.read(path)) for path in paths[share]), name="run", count=count)
    found = gather(made, extractor, Options(device=CPU))
    assert_same(found, look(folder))
    assert found.provenance["source"] == "run"
    gather(made, extractor, Options(device=CPU))
    assert extractor.looked == 12  # nobody can know that it would be the same again


def test_an_error_while_pictures_are_made_is_passed_on():
    def make(share):
        yield "first", Picture(pixels=noise(4, 4, 3), alpha=None)
        raise ArzhangError("The generator gave up.")

    with pytest.raises(ArzhangError, match="The generator gave up"):
        gather(Made(make, name="run"), Thumbnail(), Options(device=CPU))


# The cache


def test_what_was_seen_is_mapped_and_not_looked_at_again(folder, cache):
    extractor = Thumbnail()
    first = look(folder, extractor, cache=True)
    again = look(folder, extractor, cache=True, batch=2, threads=1)
    assert extractor.looked == 6
    for found in (first, again):
        assert_same(found, look(folder))
        assert (found.features == first.features).all()
        assert (found.logits == first.logits).all()
        assert found.names == first.names
        assert found.provenance == first.provenance
        start = f"{found.features.data_ptr() & -4096:x}-"
        (mapping,) = (line for line in Path("/proc/self/maps").read_text().splitlines() if line.startswith(start))
        assert mapping.endswith("/features.npy")


def test_a_folder_that_has_moved_is_known_by_its_content(folder, tmp_path):
    extractor = Thumbnail()
    look(folder, extractor, cache=True)
    shutil.move(folder, tmp_path / "moved")
    assert look(tmp_path / "moved", extractor, cache=True).provenance["source"] == str(tmp_path / "moved")
    assert extractor.looked == 6


@pytest.mark.parametrize("change", ["pixels", "name", "more", "fewer", "precision", "extractor", "weights"])
def test_whatever_changes_is_looked_at_again(folder, change):
    extractor, options = Thumbnail(), {}
    look(folder, extractor, cache=True)
    match change:
        case "pixels":
            save(folder / "a/1.png", noise(8, 6, 3, seed=99))
        case "name":
            (folder / "a/1.png").rename(folder / "a/one.png")
        case "more":
            save(folder / "a/7.png", noise(8, 6, 3, seed=99))
        case "fewer":
            (folder / "a/1.png").unlink()
        case "precision":
            options = {"precision": "bfloat16"}
        case "extractor":
            extractor = Thumbnail(name="other")
        case "weights":
            extractor = Thumbnail(weights="others")
    extractor.looked = 0
    found = look(folder, extractor, cache=True, **options)
    assert extractor.looked == len(images.find(folder))
    assert_same(found, look(folder, **options))


def test_nothing_is_kept_without_the_cache(folder, cache):
    look(folder)
    assert not cache.exists()


@pytest.mark.parametrize("file", ["features.npy", "logits.npy", "about.json", "blake2b"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_a_damaged_entry_is_noticed_and_computed_again(folder, cache, file, damage):
    look(folder, cache=True)  # and nothing keeps it mapped while it is damaged
    first = look(folder)
    (entry,) = cache.iterdir()
    content = bytearray((entry / file).read_bytes())
    if damage == "remove":
        (entry / file).unlink()
    else:
        content[-20] ^= 4
        keep = {"flip": len(content), "cut": len(content) - 9, "empty": 0}[damage]
        (entry / file).write_bytes(content[:keep])
    extractor = Thumbnail()
    assert_same(look(folder, extractor, cache=True), first)
    assert extractor.looked == 6
    assert_same(look(folder, extractor, cache=True), first)
    assert extractor.looked == 6


def test_a_full_disk_under_the_cache_is_a_warning(folder, cache, largest_file):
    with largest_file(100), pytest.warns(UserWarning, match=r"Features are not kept, since .*features refuses them"):
        found = look(folder, cache=True)
    assert_same(found, look(folder))
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_a_warning(folder, cache):
    cache.parent.touch()
    with pytest.warns(UserWarning, match="let ARZHANG_CACHE name another folder"):
        assert_same(look(folder, cache=True), look(folder))


def test_what_was_not_used_for_longest_makes_room(folder, cache, monkeypatch):
    extractors = [Thumbnail(name=str(i)) for i in range(4)]
    for i, extractor in enumerate(extractors[:3]):
        before = set(cache.iterdir()) if cache.exists() else set()
        look(folder, extractor, cache=True)
        (entry,) = set(cache.iterdir()) - before
        os.utime(entry, (i, i))
        size = sum(file.stat().st_size for file in entry.iterdir())
    look(folder, extractors[0], cache=True)  # used, and so the second is the oldest
    monkeypatch.setattr(_store, "MAX_BYTES", 3 * size + 10)
    kept = look(folder, extractors[3], cache=True)
    for extractor in extractors:
        extractor.looked = 0
    for i in (0, 2, 3):
        look(folder, extractors[i], cache=True)
    look(folder, extractors[1], cache=True)
    assert [extractor.looked for extractor in extractors] == [0, 6, 0, 0]
    monkeypatch.setattr(_store, "MAX_BYTES", 0)
    assert_same(look(folder, Thumbnail(name="larger than all"), cache=True), kept)
    assert len(list(cache.iterdir())) == 1


# Moments, for sets of any number, on one process or many

PROCESSES = """
import os, signal, sys
from pathlib import Path
import torch
from test_evidence import CPU, Options, Thumbnail, moments_of, source
from arzhang import processes
from arzhang.types import ArzhangError
torch.set_num_threads(1)
folder, out, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
os.environ["WORLD_SIZE"] = str(size)
for rank in range(size):
    if os.fork() == 0:
        signal.alarm(60)
        os.environ["RANK"] = str(rank)
        try:
            with processes.joined(CPU):
                moments, provenance = moments_of(source(folder), Thumbnail(), Options(device=CPU, batch=4))
                moments.save(out / f"{rank}.npz", provenance)
        except ArzhangError as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(size)])
"""


def on_processes(folder, out, size):
    out.mkdir()
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(door.getsockname()[1])}
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, **address, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROCESSES, str(folder), str(out), str(size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def assert_equal_moments(found, expected):
    assert found.n == expected.n
    torch.testing.assert_close(found.mean, expected.mean, atol=1e-7, rtol=0)
    torch.testing.assert_close(found.scatter, expected.scatter, atol=1e-6, rtol=1e-7)


@pytest.mark.parametrize("rows", [1, 100, 5000])
def test_moments_alone_are_those_of_all_features(mixed, seen, monkeypatch, rows):
    monkeypatch.setattr(evidence, "ROWS", rows)
    found, provenance = moments_of(source(mixed), Thumbnail(), Options(device=CPU))
    assert provenance == seen.provenance
    features = seen.features.double().numpy()
    assert found.n == 1000
    np.testing.assert_allclose(found.mean, features.mean(0), atol=1e-7)
    np.testing.assert_allclose(found.covariance, np.cov(features.T), atol=1e-7)
    assert_equal_moments(seen.moments, found)


@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
def test_two_processes_find_the_moments_that_one_finds(folder, tmp_path, kind):
    path = folder if kind == "folder" else tarred(folder, tmp_path / "a.tar.gz")
    said = on_processes(path, tmp_path / "out", 2)
    assert said.endswith("[0, 0]\n"), said
    expected, provenance = moments_of(source(path), Thumbnail(), Options(device=CPU))
    for rank in range(2):
        found, told = moments.load(tmp_path / f"out/{rank}.npz")
        assert_equal_moments(found, expected)
        assert told == provenance


def test_a_process_without_a_picture_finds_the_moments_too(folder, tmp_path):
    for name in ("a/3", "a/5", "b/0", "b/2"):
        (folder / f"{name}.png").unlink()
    said = on_processes(folder, tmp_path / "out", 3)
    assert said.endswith("[0, 0, 0]\n"), said
    expected, provenance = moments_of(source(folder), Thumbnail(), Options(device=CPU))
    found, told = moments.load(tmp_path / "out/2.npz")
    assert_equal_moments(found, expected)
    assert told == provenance


def test_a_bad_picture_in_the_share_of_one_process_ends_all(folder, tmp_path):
    (folder / "a/3.png").write_bytes(b"nothing")
    said = on_processes(folder, tmp_path / "out", 2)
    assert "a/3.png begins with b'nothing'" in said
    assert said.endswith("[1, 1]\n"), said


def test_moments_of_no_pictures_are_a_sentence(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="Skipped"), pytest.raises(ArzhangError, match="1 could not be read"):
        moments_of(source(tmp_path), Thumbnail(), Options(device=CPU, skip_bad=True))


def test_saved_moments_are_known_as_statistics(folder, tmp_path):
    found = look(folder)
    found.moments.save(tmp_path / "a.npz", found.provenance)
    assert statistics_in(tmp_path / "a.npz")
    loaded, provenance = moments.load(tmp_path / "a.npz")
    assert_equal_moments(loaded, found.moments)
    assert provenance == found.provenance

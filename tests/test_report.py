"""Reports: pages that trust no text and ask for nothing, and numbers that any program reads."""

import datetime as dt
import itertools
import json
import math
import re
import resource
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from arzhang import rng
from arzhang.report import Curve, Figure, Map, Panel, Report, Row, Table, latents, overlay, write
from arzhang.types import MisuseError

HOSTILE = "<script>alert('1')</script>\"><img src=https://example.org/x onerror='x'> $\\frac{ & نقاشی \udcff.png"
SHOWN = HOSTILE.replace("\udcff", "\\udcff")


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and text."""

    VOID = frozenset({"meta", "img", "path", "circle", "use"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def noise(*shape):
    return torch.rand(shape, generator=rng.generator(0, "picture")) * 2 - 1


def example(text="a name"):
    """A report that has one of everything, with the same text wherever there is text."""
    figure = Figure(name=text, value=0.1834, unit=text, note=text, interval=(0.171, 0.196), better="lower")
    row = Row(name=text, note=text, pictures=(noise(1, 8, 8), noise(3, 8, 8), noise(4, 8, 8)))
    wavy = [(step, math.sin(step / 9)) for step in range(300)]
    return Report(
        title=text,
        summary=text,
        date=dt.date(2026, 11, 3),
        figures=(figure, replace(figure, better="higher")),
        panels=(Panel(title=text, caption=text, columns=(text, "output", "target"), rows=(row, row)),),
        maps=(
            Map(title=text, caption=text, axes=(text, text), points={text: [(0.5, -2), (3, 1)], "7": [(math.nan, 0)]}),
        ),
        curves=(
            Curve(title=text, caption=text, unit=text, x_label=text, series={text: wavy, "few": [(0, 0.1), (90, 0.2)]}),
            Curve(title=text, series={text: [(0, 1), (9, 1e-3)]}, scale="log"),
        ),
        tables=(Table(title=text, caption=text, columns=(text, "L1"), rows=((text, figure), (text, 3), (text, text))),),
        config={text: {"inner": text, "path": Path("data"), "betas": (0.5, 0.999), "none": None}},
        provenance={text: text},
    )


def test_hostile_text_stays_text_everywhere(tmp_path):
    harmless, hostile = Page(write(example(), tmp_path / "a")), Page(write(example(HOSTILE), tmp_path / "b"))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    for (_, plain), (_, attributes) in zip(harmless.elements, hostile.elements, strict=True):
        assert plain.keys() == attributes.keys()
    assert not hostile.open
    assert hostile.texts.count(SHOWN) == harmless.texts.count("a name") > 20
    assert hostile.all("img")[0]["alt"] == f"{SHOWN}: {SHOWN}"


def test_the_page_asks_for_nothing(tmp_path):
    path = write(example(HOSTILE), tmp_path)
    page = Page(path)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name.split(":")[-1] in {"src", "href", "srcset", "action", "data", "poster"}
    ]
    assert len(addresses) > 6
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in addresses)
    style = re.search(r"<style>(.*?)</style>", path.read_text("utf-8"), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    policy = page.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; ")


def test_ids_are_unique_and_found(tmp_path):
    path = write(example(), tmp_path)
    page = Page(path)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = re.findall(r'(?:href="|url\()#([^")]+)', path.read_text("utf-8"))
    assert len(set(ids)) == len(ids)
    assert links
    assert set(links) <= set(ids)


def test_pictures_have_words_and_heads_have_scopes(tmp_path):
    page = Page(write(example(), tmp_path))
    *pictures, enlarged = page.all("img")
    assert len(pictures) == 6
    assert all(picture["alt"] for picture in pictures)
    assert [picture["class"] for picture in pictures[:3]] == ["tiny", "tiny", "alpha"]
    assert enlarged == {"alt": ""}
    assert all("scope" in head for head in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_the_numbers_are_json_and_lack_only_the_pictures(tmp_path):
    report = replace(
        example(HOSTILE),
        figures=(Figure(name="x", value=float("nan"), interval=(-math.inf, 1)),),
        config={"rate": math.inf, "depth": 8},
        curves=(Curve(title="c", series={"s": [(0, math.nan), (1, 2.5)]}),),
    )
    page = write(report, tmp_path)
    numbers = json.loads((tmp_path / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert numbers["title"] == HOSTILE
    assert numbers["date"] == "2026-11-03"
    assert (numbers["figures"][0]["value"], numbers["figures"][0]["interval"]) == (None, [None, 1])
    assert numbers["config"] == {"rate": None, "depth": 8}
    assert numbers["curves"][0]["series"] == {"s": [[0, None], [1, 2.5]]}
    assert numbers["panels"][0]["rows"][0] == {"name": HOSTILE, "note": HOSTILE}
    assert numbers["tables"][0]["rows"][0][1]["value"] == 0.1834
    assert "95 % interval — to 1" in Page(page).texts


def test_the_same_report_is_the_same_bytes(tmp_path):
    first, second = write(example(), tmp_path / "a"), write(example(), tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/report.json").read_bytes() == (tmp_path / "b/report.json").read_bytes()


def test_an_empty_report_has_a_title_and_no_sections(tmp_path):
    page = Page(write(Report(title="Nothing yet"), tmp_path / "deep" / "folder"))
    assert page.texts.count("Nothing yet") == 2
    assert page.all("section") == []


def test_settings_have_the_names_of_the_command_line(tmp_path):
    report = Report(title="x", config={"model": {"generator": {"depth": 8}, "betas": (0.5, 0.9)}, "seed": None})
    texts = Page(write(report, tmp_path)).texts
    assert texts[texts.index("model.generator.depth") + 1] == "8"
    assert texts[texts.index("model.betas") + 1] == "[0.5, 0.9]"
    assert texts[texts.index("seed") + 1] == "null"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.18344, "0.1834"),
        (20000, "20,000"),
        (1234567.8, "1,234,568"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (2e-5, "2e-05"),
        (0, "0"),
        (math.nan, "—"),
        (-math.inf, "—"),
    ],
)
def test_numbers_are_written_for_people(tmp_path, value, shown):
    texts = Page(write(Report(title="x", figures=(Figure(name="y", value=value),)), tmp_path)).texts
    assert texts[texts.index("y") + 1].strip() == shown


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize(
    "points",
    [[], [(0, math.nan), (1, math.inf)], [(0, -1), (1, 0)], [(5, 2)], [(step, math.nan) for step in range(300)]],
    ids=["none", "not finite", "not positive", "one", "many missing"],
)
def test_odd_series_are_drawn(tmp_path, scale, points):
    page = Page(write(Report(title="x", curves=(Curve(title="c", series={"s": points}, scale=scale),)), tmp_path))
    assert any(attributes.get("role") == "img" for attributes in page.all("svg"))


def test_a_long_series_stays_small_and_keeps_its_peak(tmp_path):
    long = [(step, float(step == 54_321) * 10 + math.sin(step)) for step in range(100_000)]
    peaked = write(Report(title="x", curves=(Curve(title="c", series={"s": long}),)), tmp_path).read_text("utf-8")
    assert len(peaked) < 150_000
    faint = re.search(r' d="([^"]*)"[^>]*stroke-opacity', peaked)[1]
    heights = sorted(float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", faint))
    assert heights[0] < heights[len(heights) // 10] - 100


def test_the_moving_average_is_level_where_the_series_is(tmp_path):
    level = [(step, 3.0 if step % 7 else math.nan) for step in range(300)]
    page = Page(write(Report(title="x", curves=(Curve(title="c", series={"s": level}),)), tmp_path))
    lines = [attributes["d"] for attributes in page.all("path") if "--line-1" in attributes.get("style", "")]
    heights = {y for line in lines for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", line)}
    assert len(lines) == 2
    assert len(heights) == 1


def spots(page):
    """The places of what stands on the first map, by its colour."""
    svg = next(attributes for attributes in page.all("svg") if attributes.get("aria-label", "").startswith("Map of"))
    start = page.elements.index(("svg", svg))
    found, colour = {}, None
    for tag, attributes in page.elements[start:]:
        if tag == "g":
            colour = attributes.get("fill")
        elif tag == "text" and colour and "line" in colour:
            found.setdefault(colour, []).append((float(attributes["x"]), float(attributes["y"])))
    return found


def test_a_map_writes_each_point_as_its_class_in_one_scale(tmp_path):
    points = {"Q": [(0, 0), (4, 0)], "horse": [(0, 2), (math.inf, 0)], "a": [(0, 1)]}
    page = Page(write(Report(title="x", maps=(Map(title="m", axes=("across", "up"), points=points),)), tmp_path))
    (left, right), (top,), (middle,) = spots(page).values()
    assert right[0] - left[0] == pytest.approx(2 * (left[1] - top[1]), abs=0.2)
    assert left[1] - middle[1] == pytest.approx(middle[1] - top[1], abs=0.2)
    assert [text for text in page.texts if text in {"Q", "b", "a", "horse"}] == ["b", "horse", "Q", "Q", "b", "a"]
    assert {"across", "up"} <= set(page.texts)


@pytest.mark.parametrize("points", [{}, {"one": []}, {"one": [(2, 2)]}, {"one": [(0, 1), (1e-9, 5e8)]}])
def test_odd_maps_are_drawn(tmp_path, points):
    text = write(Report(title="x", maps=(Map(title="m", axes=("a", "b"), points=points),)), tmp_path).read_text("utf-8")
    (height,) = re.findall(r'viewBox="0 0 480 (\d+)"', text)
    assert 60 <= int(height) <= 700


def test_latents_that_do_not_vary_are_not_active_and_the_figure_says_how_many_are():
    mean = torch.randn(200, 3, generator=rng.generator(0, "mean")) * torch.tensor([1.0, 0.05, 0.2])
    assert latents.active(mean).tolist() == [True, False, True]
    figure = latents.Latents(mean=mean, variance=torch.ones(200, 3), classes=()).figure()
    assert (figure.name, figure.value, figure.unit) == ("Active units", 2, "of 3 latents")


def test_a_map_of_latents_shows_the_plane_in_which_they_vary_most():
    turn = torch.linalg.qr(torch.randn(5, 5, generator=rng.generator(0, "turn"))).Q
    plane = torch.randn(300, 2, generator=rng.generator(0, "plane")) * torch.tensor([3.0, 1.0])
    mean = torch.cat([plane, torch.zeros(300, 3)], 1) @ turn + 7
    classes = [str(index % 12) for index in range(300)]
    (drawn,) = latents.Latents(mean=mean, variance=torch.ones(300, 5), classes=classes).map()
    assert list(drawn.points) == [str(index) for index in range(12)]
    found = torch.tensor([drawn.points[name][index // 12] for index, name in enumerate(classes)])
    expected = torch.linalg.svd(plane - plane.mean(0), full_matrices=False)
    torch.testing.assert_close(found.abs(), (expected.U * expected.S).abs(), rtol=0, atol=1e-3)
    shares = expected.S.square() / expected.S.square().sum()
    assert drawn.axes == (
        f"first principal component, {shares[0]:.0%}",
        f"second, {shares[1]:.0%} of the variance",
    )


def test_two_latents_are_mapped_as_they_are_and_one_is_not():
    mean = torch.randn(9, 2, generator=rng.generator(0, "two"))
    (drawn,) = latents.Latents(mean=mean, variance=torch.ones(9, 2), classes=()).map()
    assert drawn.points == {"picture": [tuple(point) for point in mean.tolist()]}
    assert list(latents.Latents(mean=mean[:, :1], variance=torch.ones(9, 1), classes=()).map()) == []
    assert list(latents.Latents(mean=mean[:2], variance=torch.ones(2, 2), classes=()).map()) == []


class Echo:
    """Decodes latents to pictures that are those latents."""

    def encode(self, picture):
        raise NotImplementedError

    def decode(self, latents):
        return latents[:, None, None, :]


def test_a_traversal_moves_one_latent_by_the_spread_of_all_and_leaves_the_others():
    mean = torch.tensor([[0.0, 2.0, 1.0], [0.0, -2.0, 3.0]])
    found = latents.Latents(mean=mean, variance=torch.tensor([[1.0, 5, 0], [1.0, 5, 0]]), classes=())
    panel = found.traversal(Echo(), 1, torch.device("cpu"))
    assert [column.replace("\N{MINUS SIGN}", "-") for column in panel.columns] == [
        "-3",
        "-2",
        "-1",
        "0",
        "+1",
        "+2",
        "+3",
    ]
    assert [row.name for row in panel.rows] == ["latent 1", "latent 2", "latent 0"]
    assert [row.note.endswith("not active") for row in panel.rows] == [False, False, True]
    moved = torch.stack([torch.cat(row.pictures)[:, 0] for row in panel.rows])
    places = torch.arange(-3.0, 4)
    expected = mean[1].repeat(3, 7, 1)
    expected[0, :, 1], expected[1, :, 2], expected[2, :, 0] = 3 * places, 2 + places, places
    torch.testing.assert_close(moved, expected)


def test_a_traversal_of_many_latents_shows_the_most_active():
    mean = torch.randn(50, 25, generator=rng.generator(0, "many"))
    panel = latents.Latents(mean=mean, variance=mean**2, classes=()).traversal(Echo(), 0, torch.device("cpu"))
    assert [row.name for row in panel.rows] == [
        f"latent {index}" for index in mean.var(0).argsort(descending=True)[:10]
    ]
    assert "the 10 most active of 25" in panel.caption


def test_a_failing_write_leaves_the_old_report(tmp_path):
    write(example(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, (limits := resource.getrlimit(resource.RLIMIT_FSIZE))[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(Report(title="new"), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert before.keys() == {"report.html", "report.json"}


def test_a_row_that_does_not_fill_its_columns_is_refused():
    with pytest.raises(MisuseError, match=r"A row of 'Pairs' has 1 entries, but there are 2 columns \(input, output\)"):
        Panel(title="Pairs", columns=("input", "output"), rows=(Row(name="1", pictures=(noise(3, 4, 4),)),))
    with pytest.raises(MisuseError, match="'Baselines'"):
        Table(title="Baselines", columns=("method", "L1"), rows=(("ours", 0.1, 0.2),))


def test_an_overlay_is_gold_at_0_grey_at_a_half_and_lapis_at_1():
    image = noise(3, 16, 16)
    gold, grey, lapis = (overlay(image, torch.full((4, 4), verdict)) for verdict in (0.0, 0.5, 1.0))
    assert (grey[0] == grey[1]).all()
    assert (grey[1] == grey[2]).all()
    assert (gold[0] > gold[2] + 0.5).all()
    assert (lapis[2] > lapis[0] + 0.5).all()
    assert gold.mean() > lapis.mean() + 0.3


def test_an_overlay_takes_what_is_no_verdict_for_undecided_and_stays_in_range():
    image = noise(3, 9, 7)
    heat = torch.tensor([[math.nan]])
    torch.testing.assert_close(overlay(image, heat), overlay(image, torch.tensor([[0.5]])), rtol=0, atol=0)
    beyond = overlay(image, torch.tensor([[7.0, -7.0]]))
    torch.testing.assert_close(beyond, overlay(image, torch.tensor([[1.0, 0.0]])), rtol=0, atol=0)
    assert beyond.abs().max() <= 1

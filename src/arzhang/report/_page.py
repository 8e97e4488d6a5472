"""The page: one file that asks for nothing, reads well on a phone and on paper, and trusts no text."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib import resources
from io import BytesIO
from typing import Any

from jaxtyping import Float
from torch import Tensor

from arzhang import images
from arzhang.report import _plot
from arzhang.report._parts import Curve, Figure, Map, Number, Panel, Report, Row, Table, plain

STAR = (
    '<svg class="star" viewBox="-12 -12 24 24" aria-hidden="true"><path d="M-7.5-7.5h15v15h-15z"/>'
    '<path d="M0-10.6 10.6 0 0 10.6-10.6 0z"/><circle r="2.6"/></svg>'
)


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def render(report: Report) -> str:
    """Return the page of a report."""
    script = _resource("_page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    )
    main = _tag(
        "main",
        *map(_panel, report.panels),
        *map(_map, report.maps),
        _curves(report.curves),
        *map(_table, report.tables),
        _facts("Configuration", _flat(plain(report.config))),
        _facts("Provenance", report.provenance.items(), open=""),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{_resource('_page.css')}</style>\n</head>\n<body>\n"
        f"{_header(report)}\n{main}\n"
        '<dialog aria-label="Picture at full size"><img alt=""><p></p></dialog>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _header(report: Report) -> Html:
    return _tag(
        "header",
        Html(STAR),
        _text("h1", report.title),
        _text("p", f"{report.date.day} {report.date:%B %Y}" if report.date else "", class_="date"),
        _text("p", report.summary, class_="summary"),
        _tag("dl", *map(_figure, report.figures), class_="figures") if report.figures else "",
    )


def _figure(figure: Figure) -> Html:
    better = {"lower": "↓ lower is better", "higher": "↑ higher is better", None: ""}[figure.better]
    return _tag(
        "div",
        _text("dt", figure.name),
        _tag("dd", _number(figure.value), " ", _text("small", figure.unit), class_="value"),
        *(_text("dd", line, class_="note") for line in (_interval("95 % interval ", figure), better, figure.note)),
    )


def _panel(panel: Panel) -> Html:
    span, wide = len(panel.columns), len(panel.columns) > 4
    table = _tag(
        "table",
        _columns(panel),
        *(_row(row, panel.columns) for row in panel.rows),
        class_="pictures wide" if wide else "pictures",
        style=f"--columns: {span}",
    )
    return _tag("section", *_heading(panel), _scroll(table, panel.title) if wide else table)


def _row(row: Row, columns: tuple[str, ...]) -> Html:
    name = _tag("bdi", row.name), " ", _text("bdi", row.note, class_="note")
    return _tag(
        "tbody",
        _tag(
            "tr",
            *(_cell(picture, f"{row.name}: {column}") for picture, column in zip(row.pictures, columns, strict=True)),
        ),
        _tag("tr", _tag("th", *name, scope="rowgroup", colspan=str(len(columns)))),
    )


def _cell(picture: Float[Tensor, "C H W"], alt: str) -> Html:
    channels, height, width = picture.shape
    kind = "alpha" if channels == 4 else "tiny" if max(height, width) <= 96 else "photo"
    image = f'<img src="{_data(picture)}" width="{width}" height="{height}" class="{kind}" alt="{escape(alt)}">'
    return _tag("td", _tag("button", Html(image), type="button"))


def _data(picture: Float[Tensor, "C H W"]) -> str:
    """Return a picture as a data URI: whichever is smaller of WebP without loss (drawings) and with (photographs)."""
    colours, alpha = (picture[:3], picture[3]) if len(picture) == 4 else (picture, None)
    image = images.to_pil(images.from_tensor(colours.nan_to_num(0), alpha=alpha))
    files = []
    for lossless in (True, False):
        buffer = BytesIO()
        image.save(buffer, "WEBP", lossless=lossless, quality=90)
        files.append(buffer.getvalue())
    return "data:image/webp;base64," + base64.b64encode(min(files, key=len)).decode()


def _curves(curves: tuple[Curve, ...]) -> Html:
    if not curves:
        return Html()
    faint = any(len(points) > _plot.MANY for curve in curves for points in curve.series.values())
    note = "A faint line is what was measured; the strong line over it is its moving average." if faint else ""
    drawn = (_curve(curve, prefix=f"curve{index}-") for index, curve in enumerate(curves))
    return _tag(
        "section", _tag("h2", "Curves"), _text("p", note, class_="caption"), _tag("div", *drawn, class_="curves")
    )


def _curve(curve: Curve, *, prefix: str) -> Html:
    label = escape(f"Line chart of {', '.join(curve.series)} over {curve.x_label}")
    return _tag(
        "figure",
        _text("h3", curve.title),
        _tag("ul", *map(_legend, range(len(curve.series)), curve.series), class_="legend"),
        _text("p", curve.unit, class_="axis"),
        Html(_plot.draw(curve, prefix=prefix).replace("<svg", f'<svg role="img" aria-label="{label}"', 1)),
        _text("p", curve.x_label, class_="axis x"),
        _text("figcaption", curve.caption, class_="caption"),
        class_="curve",
    )


def _legend(index: int, name: str) -> Html:
    dashes = " ".join(f"{2 * dash:g}" for dash in _plot.DASHES[index % len(_plot.DASHES)])
    line = Html(
        f'<svg viewBox="0 0 32 10" aria-hidden="true"><path d="M0 5h32" stroke-width="2.5" stroke-dasharray="{dashes}"'
        f' stroke="{_plot.COLOURS[index % len(_plot.COLOURS)]}"/></svg>'
    )
    return _tag("li", line, _tag("bdi", name))


def _map(chart: Map) -> Html:
    label = escape(f"Map of {', '.join(chart.points)}: {chart.axes[1]} over {chart.axes[0]}")
    legend = [
        _tag("li", _tag("b", key, style=f"color: {_plot.COLOURS[index % len(_plot.COLOURS)]}"), " ", _tag("bdi", name))
        for index, (key, name) in enumerate(zip(_plot.keys(chart.points), chart.points, strict=True))
        if key != name
    ]
    return _tag(
        "section",
        *_heading(chart),
        _tag("ul", *legend, class_="legend") if legend else "",
        _text("p", chart.axes[1], class_="axis"),
        Html(_plot.scatter(chart).replace("<svg", f'<svg role="img" aria-label="{label}"', 1)),
        _text("p", chart.axes[0], class_="axis x"),
        class_="map",
    )


def _table(table: Table) -> Html:
    rows = (
        _tag("tr", _tag("th", *_entry(first), scope="row"), *(_tag("td", *_entry(cell)) for cell in rest))
        for first, *rest in table.rows
    )
    numbers = _tag("table", _columns(table), _tag("tbody", *rows), class_="numbers")
    return _tag("section", *_heading(table), _scroll(numbers, table.title))


def _entry(cell: str | Number | Figure) -> tuple[str, ...]:
    if isinstance(cell, Figure):
        return f"{_number(cell.value)} {cell.unit}".rstrip(), _text("span", _interval("", cell), class_="note")
    return (_tag("bdi", cell if isinstance(cell, str) else _number(cell)),)


def _facts(title: str, facts: Iterable[tuple[str, str]], **state: str) -> Html:
    rows = [_tag("tr", _tag("th", _tag("bdi", key), scope="row"), _tag("td", _tag("bdi", text))) for key, text in facts]
    table = _tag("table", _tag("tbody", *rows), class_="facts")
    return _tag("section", _tag("details", _tag("summary", _tag("h2", title)), table, **state)) if rows else Html()


def _flat(config: Mapping[str, Any], *, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every setting under the name that it has on the command line."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, path=f"{path}{key}.")
        else:
            yield path + key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _heading(part: Panel | Table | Map) -> tuple[Html, Html]:
    return _text("h2", part.title), _text("p", part.caption, class_="caption")


def _columns(part: Panel | Table) -> Html:
    return _tag("thead", _tag("tr", *(_tag("th", name, scope="col", dir="auto") for name in part.columns)))


def _scroll(content: Html, label: str) -> Html:
    """Let wide content scroll by itself, with the keyboard too."""
    return _tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def _number(value: Number) -> str:
    if not math.isfinite(value):
        return "—"
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


def _interval(label: str, figure: Figure) -> str:
    return label + " to ".join(map(_number, figure.interval)) if figure.interval else ""


def _text(name: str, text: str, **attributes: str) -> Html:
    """Return one element of text in any script, or nothing where there is no text."""
    return _tag(name, text, dir="auto", **attributes) if text else Html()


def _tag(name: str, *children: str, **attributes: str) -> Html:
    """Return one element. Whatever is not ``Html`` is escaped, so that nothing is forgotten."""
    opening = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    content = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    return Html(f"<{name}{opening}>{content}</{name}>")


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")

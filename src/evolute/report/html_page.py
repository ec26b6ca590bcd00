"""HTML pages: one file that holds style, script, data and Plotly.js, and asks no network.

Every text passes Jinja's autoescape; data for the script stands in a JSON block in which no tag can
end. Should a text slip through all the same, the page's content security policy runs no script but
the two whose hashes it names, and lets nothing in or out.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup

from evolute.report.page import Between, Cell, Equation, Notes, Page, Table, Typeset
from evolute.report.palette import HEAT_HIGH, HEAT_LOW, PALETTE
from evolute.report.pictures import Figure
from evolute.report.plotly_data import figure_to_plotly

MOST_ROWS = 1_000
"""Rows of a table that a page holds."""

_TAG_ENDS: dict[str, str | int | None] = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def page_to_html(page: Page) -> str:
    """Return a page as one HTML document; the same page gives the same bytes."""
    scripts = [plotly_source(), _asset("page.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            policy=policy,
            style=Markup(_colours() + _asset("page.css")),
            scripts=[Markup(script) for script in scripts],
            data=Markup(
                json_for_script(
                    {figure.name: figure_to_plotly(figure) for figure in page.pictures()}
                )
            ),
            kind_of=_kind,
            most_rows=MOST_ROWS,
        )
    )


def json_for_script(data: object) -> str:
    r"""Return JSON that may stand in a ``<script>`` block: it holds no ``<``, ``>`` or ``&``.

    >>> json_for_script("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.translate(str.maketrans(_TAG_ENDS))


@cache
def plotly_source() -> str:
    """Return the source of Plotly.js that comes with the library plotly."""
    from plotly.offline import get_plotlyjs  # a tenth of a second that only a page needs

    source: str = get_plotlyjs()
    # Neither occurs in it; if one did, the browser would end the script there.
    assert "</script" not in source
    assert "<!--" not in source
    return source


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (resources.files("evolute.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell_text
    environment.filters["sort_value"] = sort_value
    environment.filters["mathml"] = Markup
    return environment


def cell_text(cell: Cell) -> str:
    """Write one cell for people: four significant digits for a float, a dash for nothing.

    >>> [cell_text(cell) for cell in (0.123456, None, "lion", 12345)]
    ['0.1235', '–', 'lion', '12,345']
    """
    match cell:
        case None:
            return "–"
        case float():
            return number_text(cell)
        case Between(lower, upper):
            return f"{number_text(lower, 3)} … {number_text(upper, 3)}"
        case int():
            return f"{cell:,}"
        case Typeset(text):
            return text
        case _:
            return cell


def number_text(value: float, digits: int = 4) -> str:
    """Write a number with some significant digits and a true minus.

    >>> number_text(-0.001234567)
    '−0.001235'
    """
    return f"{value:.{digits}g}".replace("-", "−")


def sort_value(cell: Cell) -> str:
    """Return what the page's script sorts a column of numbers by; nothing for no number."""
    match cell:
        case Between(lower):
            return repr(lower)
        case int() | float():
            return repr(cell)
        case _:
            return ""


def _kind(block: object) -> str:
    """Name the kind of a block, for the template."""
    for kind in (Table, Figure, Equation, Notes):
        if isinstance(block, kind):
            return kind.__name__.lower()
    raise TypeError(f"{block!r} is no block of a page")


def _colours() -> str:
    """Return the palette as CSS custom properties, light and dark."""
    shades = {tone.value: shade for tone, shade in PALETTE.items()}
    shades |= {"heat-low": HEAT_LOW, "heat-high": HEAT_HIGH}
    light = "".join(f"--{name}:{shade.light};" for name, shade in shades.items())
    dark = "".join(f"--{name}:{shade.dark};" for name, shade in shades.items())
    return (
        f":root{{color-scheme:light dark;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    )

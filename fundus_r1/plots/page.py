"""Renders the report's page. All text is escaped: traces and file names are data."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def environment() -> Environment:
    """Templates that escape what they are given, and fail where a value is missing."""
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def render_page(view: dict[str, Any]) -> str:
    """One self-contained HTML page.

    Args:
        view: the values named in ``report.html.j2``; a missing one is an error.
    """
    package = files(__package__)
    template = environment().from_string(package.joinpath("report.html.j2").read_text(encoding="utf-8"))
    css = Markup(
        "".join(package.joinpath(name).read_text(encoding="utf-8") for name in ("theme.css", "report.css"))
    )
    return template.render(css=css, **view) + "\n"

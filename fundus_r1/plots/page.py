"""Renders the report's page. All text is escaped: traces and file names are data."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def render_page(view: dict[str, Any]) -> str:
    """One self-contained HTML page.

    Args:
        view: the values named in ``report.html.j2``; a missing one is an error.
    """
    package = files(__package__)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(package.joinpath("report.html.j2").read_text(encoding="utf-8"))
    css = Markup(package.joinpath("report.css").read_text(encoding="utf-8"))
    return template.render(css=css, **view) + "\n"

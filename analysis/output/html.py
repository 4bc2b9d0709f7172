"""HTML from the templates beside this file, whatever is put into them escaped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent
TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with its values; what it names must be among them."""
    return TEMPLATES.get_template(template).render(values) + "\n"

"""What runs in the browser: a file a purpose, each in a scope of its own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES = ("names", "files", "hearing", "listening")
API = "() => `${(window.gradio_config?.root ?? location.pathname).replace(/[/]$/, '')}/gradio_api`"


def page_script(settings: Mapping[str, Any]) -> str:
    """A JavaScript function for the page's beginning; `settings` are what the scripts call so."""
    given = json.dumps(settings).replace("<", "\\u003c")
    scripts = "".join(f"{{\n{Path(__file__).with_name(f'{name}.js').read_text('utf-8')}}}\n" for name in FILES)
    return f"() => {{\nconst settings = {given};\nsettings.api = {API};\n{scripts}}}"

"""The page of the studio: one document with its style and its script, and the policy that allows these alone."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

_SCRIPTS = ("state.js", "asking.js", "sheet.js", "map.js", "glyph.js", "collection.js", "main.js")
"""Parts of one script, in this order and in one scope."""


def _part(name: str) -> str:
    return (files("glyffctl.studio") / "page" / name).read_text(encoding="utf-8")


@cache
def _parts() -> tuple[str, str]:
    script = '"use strict";\n(() => {\n' + "\n".join(map(_part, _SCRIPTS)) + "})();\n"
    return _part("page.css"), script


@cache
def studio_page() -> str:
    """The page. It holds nothing of the user's: it asks for all that it shows."""
    style, script = _parts()
    return _part("page.html").replace("{{style}}", style).replace("{{script}}", script)


@cache
def policy() -> str:
    """The content security policy: our own script and style, by their digests, this server, the page's icon."""
    style, script = ("sha256-" + base64.b64encode(hashlib.sha256(p.encode()).digest()).decode() for p in _parts())
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )

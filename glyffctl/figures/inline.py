"""What pages of one file share: parts from a folder, one script, a content security policy, packed numbers.

The policy allows a page its own script and style sheet, by their digests, the pictures inside, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files
from typing import Any

import numpy as np

_POLICY = (
    "default-src 'none'; img-src data:; script-src '{script}'; style-src '{style}'; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def part(folder: str, name: str) -> str:
    """The text of a file that a page is made of."""
    return (files("glyffctl.figures") / folder / name).read_text(encoding="utf-8")


def one_scope(folder: str, names: tuple[str, ...]) -> str:
    """Scripts, in this order, as one script whose names no other sees."""
    return '"use strict";\n(() => {\n' + "\n".join(part(folder, name) for name in names) + "})();\n"


def policy(script: str, style: str) -> str:
    """The content security policy as the value of an attribute: this script, this style sheet, and pictures inside."""
    return html.escape(_POLICY.format(script=_digest(script), style=_digest(style)), quote=True)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def packed(values: Any, kind: str) -> str:
    """Numbers, an array or a tensor on the CPU, as base64 of a NumPy type such as "<f4"."""
    return base64.b64encode(np.ascontiguousarray(np.asarray(values).astype(kind)).tobytes()).decode()

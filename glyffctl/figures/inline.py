"""What pages of one file share: parts from a folder, a content policy, data as JSON, pictures as sheets.

Texts of a page are untrusted. Data stand as ASCII JSON, with `<`, `>` and `&` escaped, in blocks that are no scripts.
The policy allows a page its own script and style sheet, by their digests, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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


def safe_json(content: Any) -> str:
    """JSON that is safe inside an HTML element: ASCII, with <, > and & escaped."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def packed(values: Any, kind: str) -> str:
    """Numbers, an array or a tensor on the CPU, as base64 of a NumPy type such as "<f4"."""
    return base64.b64encode(np.ascontiguousarray(np.asarray(values).astype(kind)).tobytes()).decode()


def picture_sheet(pictures: Any) -> dict[str, Any]:
    """Pictures (N, H, W) uint8 as one image without loss: {"count", "across", "width", "height", "image"}."""
    values = np.asarray(pictures)
    count, height, width = values.shape
    across = math.isqrt(count - 1) + 1
    down = -(-count // across)
    page = np.full((across * down, height, width), 255, np.uint8)
    page[:count] = values
    whole = page.reshape(down, across, height, width).swapaxes(1, 2).reshape(down * height, across * width)
    image = address(webp(Image.fromarray(whole)), "image/webp")
    return {"count": count, "across": across, "width": width, "height": height, "image": image}


def webp(image: Image.Image) -> bytes:
    """The file of a picture in lossless WebP, which is smaller than PNG and which browsers read since 2020."""
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True, method=4)
    return file.getvalue()


def still(path: Path) -> bytes:
    """A picture that was saved, or the last one of an animation, as a file for a page, see `webp`."""
    with Image.open(path) as image:
        image.seek(getattr(image, "n_frames", 1) - 1)
        return webp(image.convert("RGB"))


def address(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"

"""What a prompt may be."""

from __future__ import annotations

from glyffctl.core.errors import UsageError

LONGEST_PROMPT = 2000
"""In characters; encoders use a few hundred at most."""


def check_prompt(text: str) -> None:
    """Check that `text` can be encoded.

    Raises:
        UsageError: it is not UTF-8, or too long.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):  # how Python passes undecodable bytes
        raise UsageError("a prompt is not UTF-8 text")
    if len(text) > LONGEST_PROMPT:
        raise UsageError(f"a prompt has {len(text):,} characters; at most {LONGEST_PROMPT:,} are allowed")

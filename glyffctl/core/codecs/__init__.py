"""Codecs: between pictures and what is diffused, the table of them, and each in a file of its own."""

from glyffctl.core.codecs import pixels  # noqa: F401 (adds itself to the table)

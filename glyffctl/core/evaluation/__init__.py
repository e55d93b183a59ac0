"""Measures of a trained model against real glyphs."""

from glyffctl.core.evaluation import strokes  # noqa: F401 (adds itself to the list of metrics)

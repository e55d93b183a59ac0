"""Measures of a trained model against real glyphs."""

import glyffctl.core.evaluation.strokes  # noqa: F401 (adds itself to the list of metrics)

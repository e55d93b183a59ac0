"""Measures of a trained model against real glyphs."""

import glyffctl.core.evaluation.strokes

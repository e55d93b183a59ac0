"""Measures of a trained model against real glyphs."""

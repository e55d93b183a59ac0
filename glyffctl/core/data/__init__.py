"""Glyphs and their captions: fonts, definitions, data sets on disk."""

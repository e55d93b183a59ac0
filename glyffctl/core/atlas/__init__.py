"""The map of glyphs: layout, neighbors, groups, density."""

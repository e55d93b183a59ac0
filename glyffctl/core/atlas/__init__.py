"""Maps of glyphs in the plane: which are alike, where they lie, how densely, and how they are grouped."""

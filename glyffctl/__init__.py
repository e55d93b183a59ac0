"""glyffctl: a small text-to-image diffusion model that draws new Chinese glyphs from English definitions."""

__version__ = "0.1.0"

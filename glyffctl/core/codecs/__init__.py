"""Codecs: between pictures and what is diffused, the table of them, and each in a file of its own."""

import glyffctl.core.codecs.pixels

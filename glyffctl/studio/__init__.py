"""`glyffctl studio`: a page to draw with, served to this machine alone."""

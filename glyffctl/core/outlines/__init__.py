"""Outlines of pictures: level sets, corners, Bézier curves; and the SVG files and fonts made of them."""

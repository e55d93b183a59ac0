"""Draw the characters of a list with Pillow, one after the other, into one array: FONT CHARACTERS OUT."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 128

font_path, characters, out = sys.argv[1:]
font = ImageFont.truetype(font_path, 110)
pictures = []
for character in Path(characters).read_text(encoding="utf-8"):
    picture = Image.new("L", (SIZE, SIZE), 255)
    ImageDraw.Draw(picture).text((SIZE / 2, SIZE / 2), character, fill=0, font=font, anchor="mm")
    pictures.append(np.asarray(picture))
np.save(out, np.stack(pictures))

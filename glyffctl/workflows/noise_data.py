"""The glyphs of `glyffctl noise-demo`: from prepared data, or drawn from a font."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.font_manager import get_font
from torch import Tensor

from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.data.captions import radical_character, radical_name
from glyffctl.core.data.character import Character
from glyffctl.core.data.cleaning import clean
from glyffctl.core.data.definitions import Entry, installed_definitions, read_definitions
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.fonts import choose_faces, draw_glyphs, read_faces, system_fonts
from glyffctl.core.data.imagefolder import metadata_file
from glyffctl.core.data.manifest import MANIFEST
from glyffctl.core.errors import DataError, FontError
from glyffctl.core.theory.planar import principal_plane
from glyffctl.figures.demo_scene import DemoScene, resize
from glyffctl.workflows.events import Caution, Event, Note, Progress

DATA = Path("data")
CHARACTER = "锂"
GLYPHS = 1000
"""The most glyphs in the data of the exact denoiser."""
FONT_SIZE = 128
FEWEST = 3
PLANE_SIZE = 32
RADICALS = (85, 75, 149, 167, 140)
"""Water, tree, speech, metal and grass: common, and in different parts of a glyph."""
OF_A_RADICAL, FEWEST_OF_A_RADICAL = 250, 12
COMMON = range(0x4E00, 0xA000)


@dataclass(frozen=True, eq=False)
class DemoGlyphs:
    """Glyphs with their characters and their source.

    Attributes:
        pictures: (N, H, W) uint8, one for each row of `characters`.
        source: where they are from, as text.
        defined: the number of characters in the source with a definition, and a phrase that says so; None if unknown.
        folder: their data folder; None if they were drawn from a font.
    """

    pictures: Tensor
    characters: list[Character]
    source: str
    defined: tuple[int, str] | None
    folder: Path | None = None


def gather_glyphs(
    data: Path | None, font: Path | None, char: str | None, seed: int
) -> Generator[Event, None, DemoGlyphs]:
    """Get about a thousand common glyphs, and as many of five radicals; `char` is among them if it is available.

    They come from `data`, else from `font`, else from the folder data/ if it exists, else from the system's font.

    Args:
        data: a data folder.
        font: a font with Han characters.
        char: the character that the figures show.
        seed: of the choice.

    Raises:
        DataError: `data` cannot be read, or has fewer than three glyphs, or only copies of one picture.
        FontError: there is no font to draw with, or it has no Han characters.
    """
    if data is None and font is None and ((DATA / MANIFEST).is_file() or metadata_file(DATA) is not None):
        data = DATA
    found = _from_data(data, char, seed) if data is not None else (yield from _from_font(font, char, seed))
    if len(found.pictures) < FEWEST:
        raise DataError(
            f"{found.source}: {len(found.pictures)} glyphs are too few to show a distribution; give at least {FEWEST}"
        )
    if bool((found.pictures == found.pictures[0]).all()):
        raise DataError(f"{found.source}: all glyphs are the same picture; give other data")
    yield Note(f"glyphs: {found.source}", "glyphs-chosen", {"source": found.source})
    return found


def _choice(characters: Sequence[Character], char: str | None, seed: int) -> list[int]:
    """Rows of `characters`: a random thousand, common ones first, those of the radicals that are shown, and `char`."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(characters), generator=generator).tolist()
    order.sort(key=lambda row: (characters[row].codepoint or 0) not in COMMON)  # stable: common ones first
    chosen = dict.fromkeys(order[:GLYPHS])
    for radical in RADICALS:
        of_it = [row for row in order if characters[row].radical == radical]
        chosen |= dict.fromkeys(of_it[:OF_A_RADICAL])
    wanted = char or CHARACTER
    own = [row for row, character in enumerate(characters) if character.character == wanted]
    return [*own[:1], *(row for row in chosen if row not in own[:1])]


def _from_data(folder: Path, char: str | None, seed: int) -> DemoGlyphs:
    glyphs = open_glyphs(folder)
    first: dict[int, int] = {}  # the first glyph of each character: one font is one style
    for row, character in enumerate(glyphs.character_of.tolist()):
        first.setdefault(character, row)
    places = list(first)
    rows = _choice([glyphs.characters[c] for c in places], char, seed)
    characters = [glyphs.characters[places[row]] for row in rows]
    index = torch.tensor([first[places[row]] for row in rows], dtype=torch.int64)
    defined = sum(bool(character.definition.strip()) for character in glyphs.characters)
    return DemoGlyphs(
        glyphs.images(index)[:, 0],
        characters,
        f"{len(rows):,} of the {len(glyphs):,} in {folder}",
        (defined, f"characters with a definition in {folder}"),
        folder,
    )


def _from_font(font: Path | None, char: str | None, seed: int) -> Generator[Event, None, DemoGlyphs]:
    if font is None:
        try:
            font, _ = system_fonts()
        except FontError as error:
            raise FontError(
                "there is no prepared data here and no Han font on this system; run `glyffctl prepare fonts/`, or "
                "name a font with --font"
            ) from error
    yield Progress("Reading the font", 0, 1)
    faces = read_faces(font)
    file = installed_definitions()
    entries = read_definitions(file) if file is not None else {c: Entry("", None) for c in COMMON}
    face = choose_faces(faces, set(entries), "best")[0]
    covered = [c for c in sorted(entries) if c in face.codepoints]
    characters = [Character(c, chr(c), entries[c].definition, entries[c].radical) for c in covered]
    wanted = char or CHARACTER
    if ord(wanted) in face.codepoints and ord(wanted) not in entries:
        characters.append(Character(ord(wanted), wanted, "", None))
    yield Progress("Reading the font", 1, 1)
    rows = _choice(characters, char, seed)
    pictures, drawn = [], []
    chosen = [characters[row] for row in rows]
    by_codepoint = {c.codepoint: c._replace(definition=clean(c.definition).text) for c in chosen}
    for number, (codepoint, picture) in enumerate(
        draw_glyphs(face, [c for c in by_codepoint if c is not None], FONT_SIZE)
    ):
        if number % 256 == 0:
            yield Progress("Drawing", number, len(rows), "glyphs", face.name)
        if picture is not None:
            pictures.append(torch.from_numpy(picture.copy()))
            drawn.append(by_codepoint[codepoint])
    yield Progress("Drawing", len(rows), len(rows), "glyphs", face.name)
    blank = torch.empty(0, FONT_SIZE, FONT_SIZE, dtype=torch.uint8)
    return DemoGlyphs(
        torch.stack(pictures) if pictures else blank,
        drawn,
        f"{len(pictures):,} drawn with {face.name} ({font.name}); no prepared data was named or found",
        None if file is None else _defined(entries, face.codepoints, face.name),
    )


def _defined(entries: dict[int, Entry], codepoints: frozenset[int], font: str) -> tuple[int, str]:
    """The number of characters that `prepare` would draw with this font: defined after cleaning, and covered."""
    count = sum(1 for c in codepoints & entries.keys() if clean(entries[c].definition).text)
    return count, f"characters of Unihan with a definition in {font}"


def find_character(glyphs: DemoGlyphs, char: str | None) -> tuple[int, Caution | None]:
    """Find the row of `char`; with None that of 锂, or else the first row and a caution.

    Raises:
        DataError: `char` is not among the glyphs.
    """
    wanted = char or CHARACTER
    rows = [row for row, character in enumerate(glyphs.characters) if character.character == wanted]
    if rows:
        return rows[0], None
    named = [character for character in glyphs.characters if character.character]
    others = [character.character for character in sorted(named, key=lambda c: c.codepoint or 0)]
    if char is not None:
        instead = f"choose another --char, such as {', '.join(others[:6])}" if others else "leave --char out"
        raise DataError(f"there is no glyph of {char} (U+{ord(char):04X}) among these; {instead}")
    return 0, Caution(
        f"there is no glyph of {wanted} among these; the figures show {glyphs.characters[0].character or 'another'}",
        "character-missing",
        {"character": wanted},
    )


def label_of(character: str, font: Path | None) -> str:
    """`character` as a label, or "the glyph" if the font for labels lacks it."""
    try:
        path = system_fonts()[0] if font is None else font
        known = len(character) == 1 and get_font(str(path)).get_char_index(ord(character)) != 0
    except (FontError, OSError, RuntimeError):
        known = False
    return character if known else "the glyph"


def _reduced(pictures: Tensor) -> Tensor:
    """(M, 1, h, w) in [−1, 1], at most PLANE_SIZE wide: enough to distinguish glyphs."""
    unit = to_unit(pictures)[:, None]
    return resize(unit, PLANE_SIZE) if pictures.shape[-1] > PLANE_SIZE else unit


def plane_groups(glyphs: DemoGlyphs) -> tuple[list[int], Tensor, tuple[str, ...]]:
    """The rows of glyphs for the plane, their groups, and the names of the groups: radicals, if there are enough."""
    rows: list[int] = []
    group: list[int] = []
    names: list[str] = []
    for radical in RADICALS:
        of_it = [row for row, character in enumerate(glyphs.characters) if character.radical == radical]
        if len(of_it) >= FEWEST_OF_A_RADICAL:
            rows += of_it[:OF_A_RADICAL]
            group += [len(names)] * len(of_it[:OF_A_RADICAL])
            names.append(f"{radical_character(radical)} {radical_name(radical).lower()}")
    if len(names) < 2:
        rows = list(range(len(glyphs.characters)))[:GLYPHS]
        return rows, torch.zeros(len(rows), dtype=torch.int64), ("glyphs",)
    return rows, torch.tensor(group), tuple(names)


def make_scene(
    glyphs: DemoGlyphs, char: str | None, font: Path | None, schedule: str, seed: int
) -> tuple[DemoScene, Caution | None]:
    """Build the input of the figures, and a caution if the character is not the usual one.

    Args:
        glyphs: the glyphs.
        char: the character to show; None is 锂, or another if it is missing.
        font: for labels; None is the system's.
        schedule: of the figures that show only one.
        seed: of all random numbers in the figures.

    Raises:
        DataError: `char` is not among the glyphs.
    """
    own, caution = find_character(glyphs, char)
    kept = [own, *(row for row in range(len(glyphs.characters)) if row != own)][:GLYPHS]
    shown, group, names = plane_groups(glyphs)
    reduced = _reduced(glyphs.pictures[torch.tensor(shown)])
    if any(label_of(name[0], font) != name[0] for name in names if not name[0].isascii()):
        names = tuple(name[1:].strip() for name in names)
    scene = DemoScene(
        glyphs=to_unit(glyphs.pictures[torch.tensor(kept)])[:, None],
        own=0,
        name=label_of(glyphs.characters[own].character, font),
        plane=principal_plane(reduced),
        plane_glyphs=reduced,
        groups=group,
        group_names=names,
        schedule_name=schedule,
        seed=seed,
    )
    return scene, caution

"""`glyffctl noise-demo`: figures and page from real glyphs, the same bytes twice, one plain line where it cannot."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.cleaning import clean
from glyffctl.core.data.dataset_writer import GlyphWriter
from glyffctl.core.data.fonts import draw_glyphs, read_faces
from glyffctl.core.device import CPU
from glyffctl.core.errors import DataError, FontError, GlyffError, OutputError, UsageError
from glyffctl.core.io.images import read_settings
from glyffctl.figures.registry import ENTRIES, Entry, file_stem, number
from glyffctl.figures.style import save_figure, style
from glyffctl.workflows import noise_data, noise_guided, noise_model
from glyffctl.workflows import noise_demo as noise_demo_module
from glyffctl.workflows.events import Event, Progress, finish
from glyffctl.workflows.noise_data import DemoGlyphs, make_scene
from glyffctl.workflows.noise_demo import GUIDE, PLAIN_FIGURES, NoiseDemoOptions, NoiseDemoReport, noise_demo
from glyffctl.workflows.noise_stages import STAGE_FIGURES
from tests.command_line import app
from tests.conftest import cautions, follow, of_kind

RADICAL_BLOCKS = {85: 0x6C34, 75: 0x6728, 149: 0x8A00, 140: 0x8279}
"""Where the characters of some radicals begin: the block is sorted by them."""


@dataclass(frozen=True)
class Data:
    folder: Path
    glyphs: DemoGlyphs


def drawn(font: Path, size: int, each: int = 13) -> DemoGlyphs:
    """Real glyphs of four radicals, and 锂."""
    face = read_faces(font)[0]
    characters = [
        Character(code, chr(code), f"meaning {code}", radical)
        for radical, first in RADICAL_BLOCKS.items()
        for code in range(first + 1, first + 1 + each)
    ]
    characters.insert(0, Character(ord("锂"), "锂", "lithium (element 3, Li)", 167))
    pictures = {c: p for c, p in draw_glyphs(face, [c.codepoint or 0 for c in characters], size) if p is not None}
    kept = [character for character in characters if character.codepoint in pictures]
    return DemoGlyphs(
        torch.stack([torch.from_numpy(pictures[c.codepoint or 0].copy()) for c in kept]),
        kept,
        f"{len(kept)} drawn for a test",
        (len(kept), "characters of a test"),
    )


def written(folder: Path, glyphs: DemoGlyphs, count: int | None = None) -> Path:
    """The glyphs as a data folder of `prepare`."""

    folder.mkdir()
    writer = GlyphWriter(folder, glyphs.pictures.shape[-1])
    for character, picture in list(zip(glyphs.characters, glyphs.pictures, strict=True))[:count]:
        writer.add(character, Font("a.otf", 0, "A"), picture.numpy())
    writer.finish({"definitions": {}, "options": {}, "left_out": {}, "cleaned": {}})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path) -> Data:
    glyphs = drawn(noto_sans, 32)
    return Data(written(tmp_path_factory.mktemp("noise") / "data", glyphs), glyphs)


PLAIN = [entry for entry in ENTRIES if entry.name not in STAGE_FIGURES]
"""Those that a model of pixels can draw; `test_noise_stages` has the others."""
FEW = ("gaussian", "process", "first-step", "loop", "samples", "score", "text")
"""Of each kind some: still, live, moving, of glyphs, of the model, of its encoder."""


@dataclass(frozen=True)
class Whole:
    """One run, and what it was asked to draw."""

    options: NoiseDemoOptions
    entries: list[Entry]
    events: list[Event]
    report: NoiseDemoReport


@pytest.fixture(scope="module", params=[FEW, pytest.param((), marks=pytest.mark.thorough)], ids=["few", "all"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Data, tiny_run: Path
) -> Whole:
    out, figures = tmp_path_factory.mktemp("whole") / "out", request.param
    options = NoiseDemoOptions(
        data=data.folder, model=tiny_run, out=out, prompt="<b>fish & 'chips'</b>", figures=figures
    )
    entries = [entry for entry in PLAIN if not figures or entry.name in figures]
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        patch.setattr(noise_model, "MANY", 12)
        patch.setattr(noise_model, "SMOOTH", 4)
        patch.setattr(noise_guided, "STEPS", 8)
        return Whole(options, entries, *follow(noise_demo(options)))


class Reader(HTMLParser):
    """What a page loads, where its links lead, and what it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ways: list[str] = []
        self.alts: list[str] = []
        self.scripts: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append(dict(attrs).get("type"))
        self.links += [value or "" for name, value in attrs if name in {"src", "srcset", "data", "action"}]
        self.ways += [value or "" for name, value in attrs if name == "href"]
        self.alts += [value or "" for name, value in attrs if name == "alt"]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["script"], ["style"]):
            self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def test_every_figure_is_there_and_says_what_was_measured(whole: Whole) -> None:
    assert [figure.name for figure in whole.report.figures] == [entry.name for entry in whole.entries]
    for entry, figure in zip(whole.entries, whole.report.figures, strict=True):
        assert figure.file.stem == file_stem(entry) and figure.file.name.startswith(f"{number(entry):02d}-")
        assert re.search(r"\d", figure.measured)
        assert all(line.endswith(".") for line in figure.measured.split("\n"))
        with Image.open(figure.file) as image:
            assert image.format == ("GIF" if entry.name in {"samples", "smooth"} else "PNG")
            assert min(image.size) > 100
            assert len(image.convert("L").getcolors() or ()) > 8
    settings = read_settings(whole.report.figures[0].file)
    assert settings["figure"] == "gaussian" and settings["char"] == "锂"


def test_progress_counts_figures(whole: Whole) -> None:
    seen = [event for event in whole.events if isinstance(event, Progress) and event.task == "Drawing figures"]
    assert [event.done for event in seen] == list(range(len(whole.entries) + 1))
    assert all(event.total == len(whole.entries) for event in seen)
    for task in {event.task for event in whole.events if isinstance(event, Progress)}:
        own = [event for event in whole.events if isinstance(event, Progress) and event.task == task]
        assert all(a.done <= b.done <= (b.total or 0) for a, b in pairwise(own)), task
    assert of_kind(whole.events, "glyphs-chosen")[0].facts == {"source": whole.report.source}


def test_the_page_is_whole_in_itself(whole: Whole) -> None:
    reader = read(whole.report.page)
    assert reader.scripts.count(None) == 1 and {*reader.scripts} == {None, "application/json"}
    assert "link" not in reader.tags and "iframe" not in reader.tags
    assert len(reader.links) == len(whole.entries) and all(link.startswith("data:image/") for link in reader.links)
    assert {way for way in reader.ways if not way.startswith("#")} == {GUIDE.address}
    source = whole.report.page.read_text(encoding="utf-8").replace(f'<a href="{GUIDE.address}">', "")
    assert {way[1:] for way in reader.ways if way.startswith("#")} <= {*re.findall(r' id="([^"]+)"', source)}
    assert {f"#{entry.name}" for entry in whole.entries} <= {*reader.ways}
    assert not re.search(r"https?:|file:|url\(|@import", re.sub(r"base64,[^\"]+", "", source))
    for figure, link in zip(whole.report.figures, reader.links, strict=True):
        with Image.open(figure.file) as saved, Image.open(BytesIO(base64.b64decode(link.split(",")[1]))) as shown:
            saved.seek(getattr(saved, "n_frames", 1) - 1)  # of an animation the last picture
            assert saved.convert("RGB").tobytes() == shown.convert("RGB").tobytes()
    for k, entry in enumerate(whole.entries, 1):
        assert f"{k}. {entry.title}" in reader.text


def test_a_hostile_prompt_is_text_on_the_page(whole: Whole) -> None:
    reader = read(whole.report.page)
    assert "b" not in reader.tags and "<b>fish & 'chips'</b>" in reader.text


def test_what_a_page_says_can_be_followed_without_the_guide(whole: Whole) -> None:
    reader = read(whole.report.page)
    assert reader.alts == [entry.alt for entry in whole.entries]
    assert all(entry.alt.endswith(".") and entry.alt != entry.title for entry in ENTRIES)
    # The article is named before anything is said about it, and no formula is left in the notation of a program.
    first = reader.text.index("the guide")
    assert "glyffuser" in reader.text[:first] and GUIDE.before in reader.text[:first]
    assert not re.search(r"\w_\w|\bq\(|\bKS\b", reader.text)
    for entry in ENTRIES:
        assert not re.search(r"\d\d", entry.see.replace("255", "")), f"{entry.name} tells a number nobody measured"


def test_every_letter_on_the_page_can_be_read_on_a_telephone(whole: Whole) -> None:
    """At the width that a figure keeps on any screen its capitals have 9 pixels; where there is room it is wider."""
    source = whole.report.page.read_text(encoding="utf-8")
    widths = [int(width) for width in re.findall(r'<img width="(\d+)"', source)]
    kept = {int(n): int(w) for n, w in re.findall(r"#figure-(\d+) img { max-width: none; width: (\d+)px", source)}
    still = {k for k, entry in enumerate(whole.entries, 1) if entry.name not in {"samples", "smooth"}}
    assert len(widths) == len(whole.entries) and kept.keys() == still
    assert all(0.6 * widths[n - 1] < width <= widths[n - 1] for n, width in kept.items())


@pytest.mark.thorough
@pytest.mark.parametrize("whole", [()], indirect=True)
def test_the_same_bytes_twice(whole: Whole, tmp_path: Path) -> None:
    cheap = ("process", "schedules", "score", "loop", "solvers", "steps")
    again = finish(noise_demo(replace(whole.options, out=tmp_path / "again", figures=cheap)))
    before = {figure.name: figure for figure in whole.report.figures}
    for figure in again.figures:
        assert figure.file.read_bytes() == before[figure.name].file.read_bytes(), figure.name
        assert figure.measured == before[figure.name].measured
    other = finish(noise_demo(replace(whole.options, out=tmp_path / "other", figures=("gaussian",), seed=1)))
    assert other.figures[0].file.read_bytes() != before["gaussian"].file.read_bytes()


def test_what_lies_in_the_folder_is_left_alone(data: Data, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    (out / "01-pixels.png").write_text("old")
    finish(noise_demo(NoiseDemoOptions(data=data.folder, out=out, figures=("joint",))))
    assert (out / "thesis.txt").read_text() == "mine" and (out / "01-pixels.png").read_text() == "old"
    joint = next(f"{file_stem(entry)}.png" for entry in ENTRIES if entry.name == "joint")
    assert sorted(path.name for path in out.iterdir()) == ["01-pixels.png", joint, "index.html", "thesis.txt"]


def test_of_a_short_run_nothing_is_written_before_all_is_drawn(data: Data, tmp_path: Path) -> None:
    """Ctrl-C, wherever it comes."""
    options = NoiseDemoOptions(data=data.folder, out=tmp_path / "out", figures=("gaussian", "joint", "process"))
    running = noise_demo(options)
    for event in running:
        assert not (tmp_path / "out").exists()
        if isinstance(event, Progress) and event.done == 2 and event.task == "Drawing figures":
            with pytest.raises(KeyboardInterrupt):
                running.throw(KeyboardInterrupt())
            break
    assert list(tmp_path.iterdir()) == []


def test_of_a_long_run_the_first_figures_can_be_opened_early(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_demo_module, "BETWEEN_PAGES", 0.0)
    options = NoiseDemoOptions(data=data.folder, out=tmp_path / "out", figures=("gaussian", "joint", "process"))
    index = options.out / "index.html"
    running = noise_demo(options)
    seen = []
    for event in running:
        seen.append(event)
        if isinstance(event, Progress) and event.done == 2 and event.task == "Drawing figures":
            reader = read(index)
            assert len(reader.links) == 2 and "first 2 figures of 3" in reader.text
            with pytest.raises(KeyboardInterrupt):
                running.throw(KeyboardInterrupt())
            break
    assert [note.facts["page"] for note in of_kind(seen, "page-begun")] == [index]
    assert [path.name for path in options.out.iterdir()] == ["index.html"]

    # What an interrupted run left makes room for the first page of the next one. A whole page stays to the end.
    events, report = follow(noise_demo(options))
    whole = index.read_bytes()
    assert of_kind(events, "page-begun") and b"so-far" not in whole.replace(b".so-far", b"")
    for event in noise_demo(replace(options, seed=1)):
        assert index.read_bytes() == whole and event not in of_kind([event], "page-begun")
    assert index.read_bytes() != whole and read(report.page).text.count("Seed: 1") == 1


@pytest.mark.thorough
@pytest.mark.parametrize("name", list(PLAIN_FIGURES))
def test_figures_of_another_font_and_size(name: str, noto_folder: Path, tmp_path: Path) -> None:
    """Small glyphs of a bold serif font, without the letters for Han."""
    small_figure(name, noto_folder / "NotoSerifCJK-Bold.ttc", 16, tmp_path, "karras")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PLAIN_FIGURES))
@pytest.mark.parametrize("size", [24, 64, 128])
@pytest.mark.parametrize("font", ["NotoSansCJK-Bold.ttc", "NotoSerifCJK-Regular.ttc"])
def test_figures_of_more_fonts_and_sizes(name: str, font: str, size: int, noto_folder: Path, tmp_path: Path) -> None:
    small_figure(name, noto_folder / font, size, tmp_path, "cosine")


def small_figure(name: str, font: Path, size: int, folder: Path, schedule: Any) -> None:
    scene, caution = make_scene(drawn(font, size), None, font, schedule, 3)
    assert caution is None and scene.name == "锂" and len(scene.group_names) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with style(font):
            figure = PLAIN_FIGURES[name](replace(scene, name="the glyph", group_names=("a", "b", "c", "d")))
            save_figure(folder / "x.png", figure.figure)
    assert "nan" not in figure.measured and "inf " not in figure.measured


@pytest.mark.thorough
def test_three_glyphs_are_enough_and_two_are_not(data: Data, tmp_path: Path) -> None:
    three = written(tmp_path / "three", data.glyphs, 3)
    plain = ("pixels", "schedules", "density", "score", "factor", "pure-noise", "solvers")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = finish(noise_demo(NoiseDemoOptions(data=three, out=tmp_path / "out", figures=(*plain, "loop"))))
    assert len(report.figures) == len(plain) + 1
    assert not any("nan" in figure.measured for figure in report.figures)
    two = written(tmp_path / "two", data.glyphs, 2)
    with pytest.raises(DataError, match="too few"):
        finish(noise_demo(NoiseDemoOptions(data=two, out=tmp_path / "no")))
    same = replace(data.glyphs, pictures=data.glyphs.pictures[:1].expand(5, -1, -1))
    same = replace(same, characters=data.glyphs.characters[:5])
    with pytest.raises(DataError, match="same picture"):
        finish(noise_demo(NoiseDemoOptions(data=written(tmp_path / "same", same), out=tmp_path / "no")))
    assert not (tmp_path / "no").exists()


@pytest.mark.thorough
def test_without_data_a_font_is_drawn_with(noto_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(noise_data, "GLYPHS", 60)
    monkeypatch.setattr(noise_data, "OF_A_RADICAL", 15)
    options = NoiseDemoOptions(font=noto_folder / "NotoSerifCJK-Bold.ttc", figures=("density",), char="鋰")
    events, report = follow(noise_demo(options))
    assert "Noto Serif CJK" in str(of_kind(events, "glyphs-chosen")[0].facts["source"])
    assert report.page == Path("noise-demo/index.html") and report.page.is_file()
    assert read_settings(report.figures[0].file)["char"] == "鋰"
    # Definitions are told to a model as `prepare` would tell them.
    told = [c.definition for c in finish(noise_data.gather_glyphs(None, options.font, None, 0)).characters]
    assert sum(map(bool, told)) > 60 and all(clean(text).text == text for text in told)
    monkeypatch.setattr(noise_data, "system_fonts", no_fonts)
    with pytest.raises(FontError, match="--font"):
        finish(noise_demo(NoiseDemoOptions(out=tmp_path / "no")))


def no_fonts() -> tuple[Path, list[Path]]:
    raise FontError("fontconfig knows no Chinese font")


@pytest.mark.thorough
def test_without_definitions_only_the_figure_of_definitions_is_left_out(
    noto_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_data, "GLYPHS", 20)
    monkeypatch.setattr(noise_data, "installed_definitions", lambda: None)
    options = NoiseDemoOptions(font=noto_folder / "NotoSerifCJK-Bold.ttc", out=tmp_path / "out")
    with pytest.raises(DataError, match="no definitions"):
        finish(noise_demo(replace(options, figures=("joint", "beside"))))
    assert not (tmp_path / "out").exists()
    two = [entry for entry in ENTRIES if entry.name in {"joint", "beside"}]
    monkeypatch.setattr("glyffctl.workflows.noise_demo.ENTRIES", two)
    events, report = follow(noise_demo(options))
    assert [figure.name for figure in report.figures] == ["joint"]
    assert [event.facts for event in of_kind(events, "figures-skipped")] == [{"figures": ("beside",)}]


def test_prepared_data_is_taken_where_it_lies(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(data.folder, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(noise_data, "system_fonts", no_fonts)  # and no letters for Han anywhere: labels do without
    report = finish(noise_demo(NoiseDemoOptions(figures=("process", "density"))))
    assert "in data" in report.source
    assert "Shown: the glyph." in read(report.page).text


def test_a_character_that_is_not_there(data: Data, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no glyph of 龘 \(U\+9F98\) among these; choose another --char, such as 朩, 未"
    ):
        finish(noise_demo(NoiseDemoOptions(data=data.folder, char="龘", out=tmp_path / "out")))
    fewer = replace(
        data.glyphs, pictures=data.glyphs.pictures[1:], characters=data.glyphs.characters[1:]
    )  # without 锂, which nobody asked for
    folder = written(tmp_path / "fewer", fewer)
    events, _ = follow(noise_demo(NoiseDemoOptions(data=folder, out=tmp_path / "out", figures=("process",))))
    assert [event.facts for event in of_kind(events, "character-missing")] == [{"character": "锂"}]


@pytest.mark.thorough
def test_a_model_of_another_size(data: Data, tmp_path: Path) -> None:
    """The one that comes with the program draws 128×128, these glyphs are 32×32."""
    options = NoiseDemoOptions(data=data.folder, out=tmp_path / "out")
    with pytest.raises(DataError, match="32×32 and the model draws 128×128"):
        finish(noise_demo(replace(options, figures=("beside",))))
    events, report = follow(noise_demo(replace(options, figures=("loop", "joint"))))
    assert of_kind(events, "figures-skipped")
    assert [figure.name for figure in report.figures] == ["loop", "joint"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"figures": ("nonsense",)}, "there are gaussian, pixels"),
        ({"schedule": "exponential"}, "linear, cosine, karras"),
        ({"char": "锂金"}, "one character"),
        ({"char": ""}, "one character"),
        ({"char": " "}, "one character"),
        ({"char": "\udcff"}, "one character"),
        ({"seed": -1}, "--seed"),
        ({"prompt": "x" * 5000}, "a prompt has 5,000"),
        ({"prompt": "\udcff"}, "a prompt is not UTF-8"),
    ],
)
def test_options_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        NoiseDemoOptions(**settings)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_used_is_one_line_and_leaves_nothing(data: Data, tmp_path: Path) -> None:
    dejavu = Path(str(__import__("matplotlib").get_data_path())) / "fonts" / "ttf" / "DejaVuSans.ttf"
    file = tmp_path / "file"
    file.write_text("")
    base = NoiseDemoOptions(data=data.folder, out=tmp_path / "out", figures=("joint",))
    cases: list[tuple[NoiseDemoOptions, type[GlyffError], str]] = [
        (replace(base, data=tmp_path / "nowhere"), DataError, "glyffctl prepare"),
        (replace(base, out=file), OutputError, "is a file"),
        (replace(base, out=file / "x"), OutputError, "not a folder"),
        (replace(base, out=Path("/proc/x")), OutputError, "/proc"),
        (replace(base, data=None, font=dejavu), FontError, "has none of the"),
        (replace(base, data=None, font=file), FontError, "file"),
        (replace(base, font=tmp_path / "no.ttf"), FontError, "no.ttf"),
        (replace(base, figures=("loop",), model=tmp_path / "nowhere"), GlyffError, "no model at"),
    ]
    for options, kind, words in cases:
        with pytest.raises(kind) as caught:
            finish(noise_demo(options))
        assert words in str(caught.value), caught.value
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_known_prompts_have_their_radicals() -> None:
    assert noise_model.expected_radicals(" Gold ") == (167,)
    assert noise_model.expected_radicals("a kind of fish") == (195,)
    assert noise_model.expected_radicals("nobody knows") == ()


@pytest.mark.thorough
def test_the_claims_about_a_model_are_measured_beside_real_glyphs(
    map_data: Path, data: Data, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_model, "ONE_STEP", 8)
    model = finish(noise_model.load_prompted_model(tiny_run, None, "gold", 0, CPU))
    found = {
        claim.name: claim
        for claim in finish(noise_model.measure_model_claims(model, replace(data.glyphs, folder=map_data)))
    }
    assert list(found) == ["one step", "gold", "new"]
    assert found["gold"].estimates["with the radical"].count == 8
    assert found["gold"].verdict == "does not hold"  # it was trained for a second
    assert found["new"].estimates["copies"].count == 8 + 48
    assert len(finish(noise_model.measure_model_claims(model, data.glyphs))) == 2  # nothing to compare with
    assert (
        len(finish(noise_model.measure_model_claims(model, replace(data.glyphs, folder=data.folder)))) == 2
    )  # too few


def test_a_prompt_that_the_encoder_does_not_know_is_named_once(tiny_run: Path) -> None:
    events, drawing = follow(noise_model.load_prompted_model(tiny_run, None, "вода", 0, CPU))
    for _ in range(2):
        more, _ = follow(drawing.text("вода", ""))
        events += more
    assert cautions(events) == ["prompts-unknown"]
    assert of_kind(events, "prompts-unknown")[0].facts == {"prompts": ("вода",)}


@pytest.mark.thorough
def test_from_the_command_line(data: Data, tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-m", "glyffctl", "noise-demo", "--data", str(data.folder)]
    made = subprocess.run(
        [*command, "--figure", "gaussian", "--figure", "process", "--schedule", "cosine"],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == "noise-demo/index.html"
    names = sorted(path.name for path in (tmp_path / "noise-demo").iterdir())
    assert names == ["01-gaussian.png", "03-process.png", "index.html"]
    wrong = CliRunner().invoke(app, ["noise-demo", "--figure", "nonsense"], env={"COLUMNS": "100", "NO_COLOR": "1"})
    assert wrong.exit_code == 2 and wrong.stderr.startswith("error: there is no figure 'nonsense'; there are gaussian")
    assert wrong.stderr.count("\n") == 1

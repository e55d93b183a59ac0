"""`glyffctl sample` as a workflow: what is drawn, what is written, what is refused."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.errors import EmbeddingError, GlyffError, ModelError, OutputError, UsageError
from glyffctl.core.io import bundled
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import load_model, save_model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import Recipe
from glyffctl.workflows.events import Caution, finish
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.rounding import processors
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import GIF_BESIDE_PICTURE, SampleOptions, options_from_picture, read_prompts
from tests.conftest import Workshop, cautions, follow, of_kind
from tests.stand_ins import make_t5

FAST = Recipe(steps=3)


def options(run: Path, out: Path, *prompts: str, **more: Any) -> SampleOptions:
    return replace(SampleOptions(prompts=prompts or ("gold",), model=run, recipe=FAST, count=4, out=out), **more)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L")).astype(int)


def test_a_sheet_and_how_it_was_made(tiny_run: Path, tmp_path: Path) -> None:
    report = finish(sample(options(tiny_run, tmp_path / "gold.png")))
    assert report.files == [tmp_path / "gold.png"]
    assert pixels(tmp_path / "gold.png").shape == (2 * 36 + 4, 2 * 36 + 4)
    settings = read_settings(tmp_path / "gold.png")
    assert settings["prompts"] == ["gold"]
    assert settings["recipe"]["steps"] == 3
    assert settings["weights"] == load_model(tiny_run).identity


DAILY = ("dpmpp-2m", "dpmpp-sde")
"""A sampler that draws nothing at random, and one that does so twice in a step."""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "sampler", [pytest.param(name, marks=() if name in DAILY else pytest.mark.thorough) for name in SAMPLERS]
)
def test_made_again_byte_for_byte(tiny_run: Path, tmp_path: Path, sampler: str) -> None:
    file = tmp_path / "x.png"
    recipe = Recipe(sampler=sampler, steps=3, guidance=2.5, interval=(0.1, 5.0))
    finish(sample(options(tiny_run, file, "gold", "", recipe=recipe, seed=7, negative="water")))
    finish(sample(options_from_picture(file)))
    assert (tmp_path / "x-again.png").read_bytes() == file.read_bytes()


def test_single_files_and_each_made_again(tiny_run: Path, tmp_path: Path) -> None:
    report = finish(sample(options(tiny_run, tmp_path / "many", "gold", "to speak", count=2)))
    names = ["000-gold-0.png", "000-gold-1.png", "001-to-speak-0.png", "001-to-speak-1.png"]
    assert [file.name for file in report.files] == names
    assert pixels(report.files[3]).shape == (32, 32)
    finish(sample(options_from_picture(report.files[3], out=tmp_path / "one.png")))
    assert (tmp_path / "one.png").read_bytes() == report.files[3].read_bytes()


def test_picture_k_depends_on_seed_plus_k_alone(tiny_run: Path, tmp_path: Path) -> None:
    def drawn(name: str, **more: object) -> list[np.ndarray]:
        report = finish(sample(options(tiny_run, tmp_path / name, **more)))
        return [pixels(file) for file in report.files]

    one = drawn("a", count=5, batch=16)
    other = drawn("b", count=5, batch=2)
    later = drawn("c", count=3, batch=16, seed=2)
    for k in range(5):
        assert np.abs(one[k] - other[k]).max() <= 1  # a batch changes the rounding of sums, no more
    for k in range(3):
        assert np.abs(one[k + 2] - later[k]).max() <= 1
    assert np.abs(one[0] - one[1]).max() > 10


def test_no_prompt_needs_no_encoder_and_guidance_one_is_the_same(
    tiny_run: Path, tmp_path: Path, workshop: Workshop
) -> None:
    moved = tmp_path / "run"
    shutil.copytree(tiny_run, moved)
    hidden = workshop.encoder.with_name("hidden")
    workshop.encoder.rename(hidden)
    try:
        for scale in (1.0, 4.0):
            finish(sample(options(moved, tmp_path / f"{scale}.png", "", recipe=Recipe(steps=3, guidance=scale))))
        with pytest.raises(EmbeddingError, match="t5"):
            finish(sample(options(moved, tmp_path / "gold.png", "gold")))
        finish(sample(options(moved, tmp_path / "gold.png", "gold", encoder=str(hidden))))
    finally:
        hidden.rename(workshop.encoder)
    assert np.abs(pixels(tmp_path / "1.0.png") - pixels(tmp_path / "4.0.png")).max() <= 1


@pytest.mark.thorough
def test_a_gif_shows_the_noise_and_ends_with_the_picture(tiny_run: Path, tmp_path: Path) -> None:
    report = finish(sample(options(tiny_run, tmp_path / "x.png", gif=tmp_path / "x.gif", recipe=Recipe(steps=80))))
    assert report.files == [tmp_path / "x.png", tmp_path / "x.gif"]
    with Image.open(tmp_path / "x.gif") as gif:
        durations = []
        for frame in ImageSequence.Iterator(gif):
            durations.append(frame.info["duration"])
        assert sum(durations) == pytest.approx(59 * 83 + 1500, abs=59 * 10)  # GIF counts in hundredths of a second
        assert 30 < len(durations) <= 60  # equal frames are written as one
        gif.seek(len(durations) - 1)
        last = np.asarray(gif.convert("L")).astype(int)
    assert np.abs(last - pixels(tmp_path / "x.png")).max() <= 9  # sixteen greys


def test_without_out_the_file_is_named_after_the_prompt(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = "../../etc/passwd\x00\u202e"
    for prompt in ("To speak!", "To speak!", "", hostile):
        finish(sample(replace(options(tiny_run, tmp_path, prompt), out=None)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "etc-passwd.png", "to-speak-2.png", "to-speak.png", "unconditional.png",
    ]  # fmt: skip


def test_the_newest_run_is_found(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, why = finish(find_model(None))
    assert path == bundled.pretrained("model.safetensors") and "came with the program" in why
    with monkeypatch.context() as patch:  # as in a source tree from which it was taken out
        patch.setattr("glyffctl.workflows.find_model.pretrained", lambda name: tmp_path / name)
        with pytest.raises(ModelError, match="glyffctl train"):
            finish(find_model(None))
    for age, name in ((200, "old"), (100, "new"), (300, "older")):
        shutil.copytree(tiny_run, Path("runs") / name)
        os.utime(Path("runs") / name / "model.safetensors", (1e9 - age, 1e9 - age))
    assert follow(find_model(None)) == ([], (Path("runs/new"), " (the newest under runs/)"))


def test_a_run_that_has_not_seen_its_data_once_is_passed_over_and_named(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = load_model(tiny_run)
    for age, name, epochs in ((300, "oldest", 2.0), (200, "begun", 0.12)):
        file = Path("runs") / name / "model.safetensors"
        save_model(file, replace(model, epochs=epochs))
        os.utime(file, (1e9 - age, 1e9 - age))
    [caution], (path, _) = follow(find_model(None))
    assert path == Path("runs/oldest")
    [facts] = [event.facts for event in of_kind([caution], "few-epochs")]
    assert facts == {"model": Path("runs/begun"), "epochs": 0.12}
    shutil.rmtree("runs/oldest")
    [caution], (path, _) = follow(find_model(None))
    assert path == bundled.pretrained("model.safetensors") and cautions([caution]) == ["few-epochs"]
    # Asked for by name it is taken, and so it is where there is nothing else; either way it says what to expect.
    [caution], (path, _) = follow(find_model(Path("runs/begun")))
    assert path == Path("runs/begun") and cautions([caution]) == ["few-epochs"]
    monkeypatch.setattr("glyffctl.workflows.find_model.pretrained", lambda name: tmp_path / name)
    [caution], (path, _) = follow(find_model(None))
    assert path == Path("runs/begun") and cautions([caution]) == ["few-epochs"]


def test_long_prompts_are_cut_and_say_so(tiny_run: Path, tmp_path: Path) -> None:
    events = list(sample(options(tiny_run, tmp_path / "x.png", "gold " * 300)))
    assert of_kind(events, "prompt-cut")


def test_sampling_while_training_saves_reads_a_whole_model(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / ".model.safetensors.1234.tmp").write_bytes(b"half a file")
    assert load_model(run).identity == load_model(tiny_run).identity


def test_what_cannot_be_drawn_is_one_line(tiny_run: Path, tmp_path: Path) -> None:
    base = options(tiny_run, tmp_path / "x.png")
    cut, flipped, pickled, empty = (tmp_path / name for name in ("cut", "flipped", "pickled", "empty"))
    for folder in (cut, flipped, pickled):
        shutil.copytree(tiny_run, folder)
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[:-1000])
    (flipped / "model.safetensors").write_bytes(data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:])
    torch.save({"a": 1}, pickled / "model.safetensors")  # noqa: TID251
    empty.mkdir()
    folder, file = tmp_path / "folder.png", tmp_path / "file"
    folder.mkdir()
    file.write_text("")
    stranger = make_t5(tmp_path / "stranger", width=48)
    cases: list[tuple[SampleOptions, type[GlyffError], str]] = [
        (replace(base, model=tmp_path / "nowhere"), ModelError, "no model at"),
        (replace(base, model=empty), ModelError, "glyffctl train"),
        (replace(base, model=cut), ModelError, "cut short"),
        (replace(base, model=flipped), ModelError, "damaged"),
        (replace(base, model=pickled), ModelError, "safetensors"),
        (replace(base, model=tiny_run / "state.safetensors"), ModelError, "training-state"),
        (replace(base, encoder=str(stranger)), EmbeddingError, "--encoder"),
        (replace(base, out=file / "x.png"), OutputError, "not a folder"),
        (replace(base, out=tmp_path / "x.jpg"), UsageError, ".png"),
        (replace(base, gif=tmp_path / "x.png"), UsageError, ".gif"),
        (replace(base, out=Path("/proc/x.png")), OutputError, "/proc"),
        (replace(base, recipe=Recipe(steps=1001)), UsageError, "1000"),
        (replace(base, weights="0" * 32), ModelError, "other weights"),
    ]
    for asked, kind, words in cases:
        with pytest.raises(kind) as caught:
            finish(sample(asked))
        assert words in str(caught.value), caught.value
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.png").exists()
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "settings",
    [
        {"count": 0}, {"count": 10**6}, {"seed": -1}, {"fps": 0.0}, {"fps": float("nan")}, {"batch": 0},
        {"prompts": ()}, {"prompts": ("x" * 2_000_000,)}, {"negative": "x" * 5000}, {"prompts": ("\udcff",)},
    ],
)  # fmt: skip
def test_options_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        SampleOptions(**{"prompts": ("gold",), **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"guidance": float("nan")},
        {"guidance": float("inf")},
        {"sampler": "euler"},
        {"interval": (3.0, 1.0)},
    ],
)
def test_recipes_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Recipe(**settings)  # type: ignore[arg-type]


def test_prompts_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufefflithium\r\n\r\n  to weep \n".encode())
    assert read_prompts(file) == ("lithium", "to weep")
    for content in (b"", b"\n \n", b"\xff\xfe\x00", b"x" * (11 << 20)):
        file.write_bytes(content)
        with pytest.raises(UsageError):
            read_prompts(file)
    with pytest.raises(UsageError):
        read_prompts(tmp_path / "missing")


def test_again_of_something_else(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("hello")
    for name in ("plain.png", "text.png", "missing.png"):
        with pytest.raises(GlyffError):
            options_from_picture(tmp_path / name)


@pytest.mark.thorough
def test_words_that_the_encoder_does_not_know_are_named(
    tmp_path: Path, unihan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warned(*prompts: str, **more: Any) -> dict[str, Caution]:
        """The cautions about these prompts by kind."""
        asked = options(Path("bundled"), tmp_path / "x.png", *prompts, count=1, recipe=Recipe(steps=1), **more)
        return {event.kind: event for event in sample(asked) if isinstance(event, Caution)}

    reads: list[Path] = []

    def installed() -> Path:
        reads.append(unihan)
        return unihan

    monkeypatch.setattr("glyffctl.workflows.definition_hints.installed_definitions", installed)
    assert warned("gold", "Gold", "a small swan", negative="water") == {} and not reads
    found = warned("铁", "铁鱼")
    assert list(found) == ["prompts-unknown", "definitions-suggested"] and len(reads) == 1
    assert found["prompts-unknown"].facts == {"prompts": ("铁", "铁鱼")}
    meanings = found["definitions-suggested"].facts["definitions"]
    assert isinstance(meanings, dict) and list(meanings) == ["铁", "鱼"]
    assert meanings["铁"] == "iron; strong, solid, firm" and meanings["鱼"].startswith("fish")
    found = warned("gold and 火")
    assert list(found) == ["words-unknown", "definitions-suggested"]
    assert found["words-unknown"].facts == {"words": ("火",)}
    assert "fire" in str(found["definitions-suggested"].facts["definitions"])
    assert warned("вода", "snow ☃")["prompts-unknown"].facts == {"prompts": ("вода",)} and len(reads) == 2
    # A sentence gets no definitions: they would fill the screen.
    assert list(warned("我喜欢吃鱼和火锅")) == ["prompts-unknown"] and len(reads) == 2
    found = warned(*(chr(0x430 + k) * 3 for k in range(9)), "x" * 100 + " 火" * 5, negative="ночь")
    prompts = found["prompts-unknown"].facts["prompts"]
    assert isinstance(prompts, tuple) and len(prompts) == 10
    assert all(len(caution.text) < 400 and "\n" not in caution.text for caution in found.values())
    monkeypatch.setattr("glyffctl.workflows.definition_hints.installed_definitions", lambda: None)
    assert list(warned("铁")) == ["prompts-unknown"]
    monkeypatch.setattr("glyffctl.workflows.definition_hints.installed_definitions", lambda: tmp_path / "gone.txt")
    assert list(warned("铁")) == ["prompts-unknown"]


def test_several_words_without_quotes_are_named(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = replace(options(tiny_run, tmp_path), out=None, count=1, typed=True)
    prompts = ("a", "kind", "of", "fish")
    [caution] = of_kind(sample(replace(base, prompts=prompts)), "prompts-unquoted")
    assert caution.facts == {"prompts": prompts} and '"a kind of fish"' in caution.text
    assert [path.name for path in tmp_path.iterdir()] == ["a-kind-of-fish.png"]
    for more in ({"prompts": ("a kind", "of fish")}, {"prompts": ("gold",)}, {"prompts": ("a", "b"), "typed": False}):
        assert not cautions(sample(replace(base, **more)))


def test_a_gif_without_a_name_is_beside_the_picture(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = options(tiny_run, tmp_path / "x.png", gif=GIF_BESIDE_PICTURE)
    assert finish(sample(base)).files == [tmp_path / "x.png", tmp_path / "x.gif"]
    assert finish(sample(replace(base, out=tmp_path / "many"))).files[-1] == tmp_path / "many" / "gold.gif"
    Path("gold.gif").write_text("mine")
    assert finish(sample(replace(base, out=None))).files == [Path("gold-2.png"), Path("gold-2.gif")]
    assert Path("gold.gif").read_text() == "mine"
    made = finish(sample(options_from_picture(tmp_path / "x.png", gif=GIF_BESIDE_PICTURE)))
    assert made.files == [tmp_path / "x-again.png", tmp_path / "x-again.gif"]
    assert made.files[1].read_bytes() == (tmp_path / "x.gif").read_bytes()


def test_made_again_with_as_many_threads(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen, draw = torch.get_num_threads(), list[int](), Drawer.draw

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(torch.get_num_threads())
        return draw(*arguments, **options)

    monkeypatch.setattr(Drawer, "draw", watched)
    threads = 2 if before == 1 else 1
    finish(sample(options(tiny_run, tmp_path / "x.png", threads=threads, precision="fp32")))
    made = seen.pop()
    assert made != before or processors() == 1
    settings = read_settings(tmp_path / "x.png")
    assert (settings["threads"], settings["device"], settings["precision"]) == (made, "cpu", "fp32")
    assert cautions(sample(options_from_picture(tmp_path / "x.png"))) == []
    assert seen.pop() == made and torch.get_num_threads() == before
    monkeypatch.setattr("glyffctl.workflows.rounding.processors", lambda: made - 1)
    redrawn = options_from_picture(tmp_path / "x.png")
    assert cautions(sample(redrawn)) == ["fewer-processors"] and seen.pop() == before
    assert cautions(sample(replace(redrawn, threads=None, drawn_on="cuda"))) == ["other-device"]
    monkeypatch.setattr("glyffctl.core.models.drawer.memory_free", lambda _: 0)
    assert cautions(sample(replace(redrawn, threads=None))) == ["smaller-batch"]
    assert cautions(sample(replace(redrawn, threads=None, batch=1))) == []
    assert cautions(sample(options(tiny_run, tmp_path / "y.png"))) == [], "a new picture has nothing to be like"


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(processors() < 2, reason="one processor")
def test_the_number_of_threads_makes_no_difference_to_a_picture_made_again(tmp_path: Path) -> None:
    """With the network in the box sums of one thread and of two differ in their last digits."""

    def glyffctl(threads: int, *arguments: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "glyffctl", "sample", *arguments, "--json"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=300)

    job = ("gold", "--model", "bundled", "--count", "2", "--steps", "3", "--precision", "fp32", "--out")
    glyffctl(1, *job, "one.png")
    glyffctl(2, *job, "two.png")
    assert [read_settings(tmp_path / f"{name}.png")["threads"] for name in ("one", "two")] == [1, 2]
    glyffctl(2, "--again", "one.png")
    glyffctl(1, "--again", "two.png")
    for name in ("one", "two"):
        assert (tmp_path / f"{name}-again.png").read_bytes() == (tmp_path / f"{name}.png").read_bytes()

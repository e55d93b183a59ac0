"""`glyffctl sample` without PyTorch: who draws, and that nobody can tell from the pictures, the files or the lines."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glyffctl.core.errors import GlyffError, ModelError
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.workflows import sample_light
from glyffctl.workflows.events import Caution, Event, Note, finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_light import light_artist, may_draw_light
from glyffctl.workflows.sample_options import GIF_BESIDE_PICTURE, SampleOptions, options_from_picture
from tests.conftest import cautions, follow, of_kind
from tests.students import make_student

MOST_MEMORY = 512 * 2**20  # bytes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with a student that learned nothing."""
    return make_student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def damaged(model: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(model, tmp_path / "damaged"))


def options(model: Path, out: Path, *prompts: str, **more: Any) -> SampleOptions:
    small = {"count": 2, "recipe": Recipe(sampler=FEW_STEP, steps=2), "precision": "fp32"}
    return SampleOptions(**{"prompts": prompts or ("gold",), "model": model, "out": out, **small, **more})


def drawn_by(file: Path) -> str:
    runtime: str = read_settings(file)["runtime"]
    return runtime


def pixels(file: Path) -> np.ndarray[Any, Any]:
    with Image.open(file) as image:
        return np.asarray(image.convert("L")).astype(int)


def told(events: list[Event]) -> list[tuple[str, dict[str, object]]]:
    """Notes and cautions, but for the time that drawing took."""
    found = [event for event in events if isinstance(event, Note | Caution)]
    return [(event.kind, {**event.facts, "seconds": None}) for event in found]


def both(base: SampleOptions, folder: Path) -> list[Path]:
    """The first files that onnxruntime and PyTorch draw for the same options; what they tell is the same."""
    made, lines = [], []
    for runtime in ("onnxruntime", "torch"):
        events, report = follow(sample(replace(base, runtime=runtime, out=folder / runtime)))
        made += report.files[:1]
        lines.append(told(events))
        assert {drawn_by(file) for file in report.files if file.suffix == ".png"} == {runtime}
    assert lines[0] == lines[1]
    names = [sorted(file.name for file in (folder / runtime).iterdir()) for runtime in ("onnxruntime", "torch")]
    assert names[0] == names[1]
    for name in names[0]:
        ours, theirs = (pixels(folder / runtime / name) for runtime in ("onnxruntime", "torch"))
        # A GIF has 16 greys.
        assert ours.std() > 10 and np.abs(ours - theirs).max() <= (1 if name.endswith(".png") else 17)
    return made


def test_the_same_pixels_files_and_lines_as_with_pytorch(model: Path, tmp_path: Path) -> None:
    prompts = ("lithium", "", "a mountain of gold", "鋰 and qzx", "light " * 80)
    ours, theirs = both(
        options(model, tmp_path, *prompts, batch=3, count=1, seed=2**40, gif=GIF_BESIDE_PICTURE), tmp_path
    )
    settings = [read_settings(file) for file in (ours, theirs)]
    assert settings[0] == settings[1] | {"runtime": "onnxruntime"}
    assert settings[0]["weights"].count("+") == 1


def test_a_student_draws_with_its_own_recipe_and_empty_prompts_need_no_encoder(model: Path, tmp_path: Path) -> None:
    both(options(model, tmp_path, "", recipe=None, guidance=1.5, count=1), tmp_path)


def test_made_again_byte_for_byte(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    finish(sample(options(model, file, "gold", "fish", seed=3)))
    assert drawn_by(file) == "onnxruntime"
    events, _ = follow(sample(options_from_picture(file)))
    assert (tmp_path / "x-again.png").read_bytes() == file.read_bytes()
    assert not cautions(events)


@pytest.mark.thorough
def test_what_pytorch_drew_it_draws_again(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    finish(sample(options(model, file, count=1, runtime="torch")))
    assert not cautions(sample(options_from_picture(file)))
    assert drawn_by(tmp_path / "x-again.png") == "torch"
    assert (tmp_path / "x-again.png").read_bytes() == file.read_bytes()


@pytest.mark.thorough
def test_without_onnxruntime_pytorch_draws(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.png"
    finish(sample(options(model, file, count=1)))
    real = importlib.util.find_spec
    monkeypatch.setattr(sample_light, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    [caution] = of_kind(sample(options_from_picture(file)), "other-runtime")
    assert caution.facts == {"runtime": "onnxruntime", "now": "torch"}
    assert drawn_by(tmp_path / "x-again.png") == "torch"
    assert np.abs(pixels(file) - pixels(tmp_path / "x-again.png")).max() <= 1


@pytest.mark.thorough
def test_a_broken_onnxruntime_is_none(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('a library is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    base = options(model, tmp_path / "x.png", count=1)
    assert may_draw_light(base)
    finish(sample(base))
    assert drawn_by(tmp_path / "x.png") == "torch"


WHOLE: dict[str, dict[str, Any]] = {
    "steps": {"recipe": Recipe(steps=3)},
    "a negative prompt": {"negative": "water"},
    "bfloat16": {"precision": "bf16"},
    "another encoder": {"encoder": "google-t5/t5-small"},
    "a GPU that was named": {"device": "cuda"},
    "Apple's GPU": {"device": "mps"},
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_only_pytorch_can_do(name: str, tmp_path: Path) -> None:
    plain = SampleOptions(prompts=("gold",))
    assert may_draw_light(plain) and may_draw_light(replace(plain, device="cpu", negative=" ", encoder=BUNDLED))
    assert not may_draw_light(replace(plain, **WHOLE[name]))


def test_where_there_may_be_a_gpu_pytorch_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SampleOptions(prompts=("gold",))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert not may_draw_light(plain) and may_draw_light(replace(plain, device="cpu"))
    monkeypatch.delitem(sys.modules, "torch")
    assert may_draw_light(plain)
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(sample_light, "_GPU_FILES", (str(tmp_path / "nvidia0"),))
    assert not may_draw_light(plain)


def test_many_pictures_are_worth_an_import() -> None:
    few = SampleOptions(prompts=("a", "b"), count=32, device="cpu")
    many = replace(few, count=33)
    assert may_draw_light(few) and not may_draw_light(many)
    assert may_draw_light(replace(many, runtime="onnxruntime")), "what it drew it draws again"


@pytest.mark.thorough
def test_a_student_that_draws_only_when_asked(tmp_path: Path) -> None:
    folder = make_student(tmp_path, passes=0)
    asked = SampleOptions(prompts=("",), recipe=Recipe(sampler=FEW_STEP, steps=2), count=1)
    assert light_artist(asked, folder, 1) is not None
    assert light_artist(replace(asked, recipe=None), folder, 1) is None


@pytest.mark.thorough
def test_guidance_that_the_student_has_not_learned(model: Path, tmp_path: Path) -> None:
    base = options(model, tmp_path / "x.png", count=1, guidance=9.0)
    with pytest.raises(GlyffError, match="guidance from 1 to 8"):
        finish(sample(base))
    finish(sample(replace(base, recipe=None)))
    settings = read_settings(tmp_path / "x.png")
    assert (settings["runtime"], settings["recipe"]["sampler"]) == ("torch", "dpmpp-2m")


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


BREAK: dict[str, Callable[[Path], object]] = {
    "a bit of the model": lambda folder: _flip(folder / "model.safetensors"),
    "a bit of the student": lambda folder: _flip(folder / "few-step.safetensors"),
    "cut short": lambda folder: (folder / "model.safetensors").write_bytes(b"\x08" + bytes(7) + b"{"),
    "no model": lambda folder: (folder / "model.safetensors").unlink(),
}


@pytest.mark.parametrize("name", BREAK)
def test_a_damaged_file_is_one_line_the_same_as_with_pytorch(name: str, damaged: Path, tmp_path: Path) -> None:
    BREAK[name](damaged)
    lines = []
    for runtime in (None, "torch"):
        with pytest.raises(ModelError) as error:
            finish(sample(options(damaged, tmp_path / "x.png", runtime=runtime)))
        lines.append(str(error.value))
    assert lines[0] == lines[1] and "\n" not in lines[0]


def test_another_model_than_the_one_that_drew_it(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="other weights"):
        finish(sample(options(model, tmp_path / "x.png", weights="0" * 32)))


SCRIPT = """
import json, pathlib, sys
from glyffctl.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    code = end.code
loaded = [name for name in ("torch", "transformers", "scipy", "matplotlib") if name in sys.modules]
status = pathlib.Path("/proc/self/status").read_text()  # unlike ru_maxrss it knows nothing of the process before
print(json.dumps([code, loaded, 1024 * int(status.split("VmHWM:")[1].split()[0])]))
"""


def test_the_command_imports_no_pytorch_and_stays_small(model: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> list[str]:
        command = [sys.executable, "-c", SCRIPT, "sample", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        lines = done.stderr.splitlines()
        assert all(line.startswith(("model: ", "Drawing: ", "drew 16 ")) for line in lines), lines
        assert bool(lines) == ("--json" not in arguments)
        *printed, last = done.stdout.splitlines()
        code, loaded, memory = json.loads(last)
        assert (code, loaded) == (0, []) and memory < MOST_MEMORY
        return printed

    drawn = run("lithium", "--model", str(model), "--json")
    assert [Path(file).name for file in json.loads(drawn[0])["files"]] == ["lithium.png"]
    assert run("--again", "lithium.png") == ["lithium-again.png"]
    assert (tmp_path / "lithium.png").read_bytes() == (tmp_path / "lithium-again.png").read_bytes()


LIMITED = """
import resource
from glyffctl.cli import main
resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9))
main()
"""


@pytest.mark.hostile
def test_a_batch_that_memory_has_no_room_for_is_one_line(model: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        LIMITED,
        "sample",
        "gold",
        "--model",
        str(model),
        "--count",
        "600",
        "--batch",
        "600",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert done.stderr.splitlines()[1:] == ["error: not enough memory; make --batch, --size or the network smaller"]

"""What the README and the pages beside it say is what the program does."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from glyffctl.core.models.config import merge, parse, preset_names
from glyffctl.version import __version__
from tests.reference import COMMANDS, with_reference

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]


def test_the_reference_is_the_program_s() -> None:
    text = COMMANDS.read_text(encoding="utf-8")
    assert with_reference(text) == text, "run `python -m tests.reference`"


def test_the_two_lines_a_newcomer_types_are_there() -> None:
    assert 'pip install . && glyffctl sample "lithium"' in TEXT
    assert 'pip install ".[test]" && pytest' in TEXT


def test_the_four_lines_of_the_reference_usage_are_there() -> None:
    for line in (
        "glyffctl prepare fonts/",
        "glyffctl train --gpus 1",
        'glyffctl sample "lithium" --steps 120 --guidance 4',
    ):
        assert line in TEXT


def test_every_bundled_file_has_its_sources_in_the_notice() -> None:
    pretrained = ROOT / "glyffctl" / "pretrained"
    notice = (pretrained / "NOTICE").read_text(encoding="utf-8")
    names = {path.name for path in pretrained.iterdir()} - {"NOTICE", "README.md"}
    assert "model.safetensors" in names and all(name in notice for name in names)
    assert "glyffctl/LICENSE" in TEXT and "glyffctl/pretrained/NOTICE" in TEXT


def test_the_version_has_one_place() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in settings["project"] and "version" in settings["project"]["dynamic"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "glyffctl.version.__version__"}
    assert f"## {__version__}" in (ROOT / "examples" / "CHANGELOG.md").read_text(encoding="utf-8")


def test_toml_in_the_readme_is_understood() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        parse(merge({"training": {"minutes": 1}}, tomllib.loads(block)))


def test_every_preset_and_every_linked_file_is_named_rightly() -> None:
    for name in preset_names():
        assert f"`{name}`" in TEXT
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page, link)


@pytest.mark.thorough
def test_the_python_in_the_readme_runs(tmp_path: Path, monkeypatch: object, tiny_run: Path) -> None:
    import sys

    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        program = block.replace("load()", f"load({str(tiny_run)!r})").replace(
            '"minutes": 10', '"images": 16, "batch": 16'
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

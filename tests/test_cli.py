"""The program as a person meets it: real processes, exit codes, what is on the screen."""

import fcntl
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from glyffctl.cli.errors import with_options
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.errors import UsageError
from glyffctl.display.console import Display
from glyffctl.version import __version__
from glyffctl.workflows.events import Event, Progress
from tests.command_line import app
from tests.conftest import Workshop, crashed

ENVIRONMENT = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}


def glyffctl(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glyffctl", *map(str, arguments)]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300, check=False
    )


def test_version() -> None:
    assert glyffctl("--version").stdout.strip() == f"glyffctl {__version__}"


@pytest.mark.parametrize("command", [[], ["prepare"], ["embed"], ["train"], ["sample"], ["visualize-umap"]])
def test_help_is_fast_and_loads_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys, runpy; sys.argv = ['glyffctl', *sys.argv[1:]]\n"
        "try: runpy.run_module('glyffctl', run_name='__main__')\n"
        "except SystemExit as leave: assert not leave.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'fontTools', 'safetensors', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert time.perf_counter() - started < 5  # 0.3 s when the machine has nothing else to do


def test_drawing_with_the_model_in_the_box_starts_fast(tmp_path: Path) -> None:
    """None of what takes long to import: transformers, torch's compiler, scipy, fonts, the rules for definitions.

    And Python's collector looks through what was imported neither while it is imported nor as the program ends.
    """
    code = (
        "import gc, sys, runpy; sys.argv = ['glyffctl', *sys.argv[1:]]\n"
        "try: runpy.run_module('glyffctl', run_name='__main__')\n"
        "except SystemExit as leave: assert not leave.code\n"
        "heavy = {'transformers', 'torch._dynamo', 'sympy', 'scipy', 'huggingface_hub', 'fontTools', 'matplotlib', "
        "'diffusers', 'glyffctl.core.data.cleaning', 'glyffctl.core.data.definitions'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 100_000, gc.get_freeze_count()"
    )
    job = ["sample", "gold", "--model", "bundled", "--count", "1", "--steps", "1", "--out", str(tmp_path / "x.png")]
    done = subprocess.run(
        [sys.executable, "-c", code, *job], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_names_samplers_and_a_wrong_name_all_of_them() -> None:
    text = " ".join(glyffctl("sample", "--help").stdout.replace("│", " ").split())
    for name in ("ddpm", "ddim", "dpmpp-2m", "dpmpp-2m-sde", "dpmpp-sde", "heun", "langevin", "pc"):
        assert name in SAMPLERS and re.search(rf"\b{re.escape(name)}\b", text), name
    wrong = CliRunner().invoke(app, ["sample", "gold", "--sampler", "none"])
    assert wrong.exit_code == 2 and all(name in wrong.stderr for name in SAMPLERS)


def test_from_fonts_to_glyphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noto_sans: Path, unihan: Path, workshop: Workshop
) -> None:
    """The four commands, on real fonts and real Unihan; the last picture is made again by a process of its own."""

    def run(*arguments: object) -> Any:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done

    monkeypatch.chdir(tmp_path)
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    (fonts / "noto.ttc").symlink_to(noto_sans)
    run("prepare", "fonts/", "--range", "4E00-4E40", "--size", "32")
    run("embed", "--encoder", workshop.encoder)
    run("train", "--gpus", "1", "--config", workshop.config, "--images", "64")
    assert (tmp_path / "runs" / "cpu" / "model.safetensors").is_file() or (tmp_path / "runs" / "gpu").is_dir()
    assert run("sample", "lithium", "--steps", "120", "--guidance", "4", "--count", "1").stdout.strip() == "lithium.png"
    assert (tmp_path / "lithium.png").is_file()
    made = glyffctl("sample", "--again", "lithium.png", "--json", folder=tmp_path)
    report = json.loads(made.stdout)
    assert report["files"] == ["lithium-again.png"] and made.stderr == ""
    assert (tmp_path / "lithium-again.png").read_bytes() == (tmp_path / "lithium.png").read_bytes()
    assert "whole budget" in run("train", "--gpus", "0", "--config", workshop.config, "--images", "64").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["sample"], 2, "name a prompt"),
        (["sample", "x", "--steps", "0"], 2, "--steps"),
        (["sample", "x", "--steps", "many"], 2, "--steps"),
        (["sample", "x", "--guidance", "nan"], 2, "--guidance"),
        (["sample", "x", "--sampler", "euler"], 2, "dpmpp-2m"),
        (["sample", "x" * 100_000], 2, "characters"),
        (["sample", "x", "--count", "0"], 2, "--count"),
        (["sample", "x", "--model", "nowhere"], 1, "nowhere"),
        (["sample", "x", "--again", "x.png"], 2, "--again"),
        (["sample", "--again", "x.png"], 1, "x.png"),
        (["sample", "--from-file", "missing.txt"], 2, "missing.txt"),
        (["train"], 1, "glyffctl prepare"),
        (["train", "--gpus", "-1"], 2, "--gpus"),
        (["train", "--preset", "huge"], 2, "cpu"),
        (["train", "--epochs", "1", "--minutes", "1"], 2, "budget"),
        (["embed"], 1, "glyffctl prepare"),
        (["prepare", "nowhere"], 1, "nowhere"),
        (["prepare", "--faces", "some"], 2, "--faces"),
        (["prepare", "--size", "1"], 2, "--size"),
        (["nothing"], 2, "nothing"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "100", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"})
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert not crashed(done.stderr) and done.stdout == ""
    if done.stderr.startswith("error:"):
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"), [(["embed"], 1, "glyffctl prepare"), (["sample"], 2, "a prompt")]
)
def test_a_mistake_is_what_the_process_ends_with(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = glyffctl(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
    assert words in done.stderr and not crashed(done.stderr)


@pytest.mark.hostile
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, tiny_run: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        out = small / "gold.png"
        done = glyffctl(
            "sample", "gold", "--model", tiny_run, "--out", out, "--count", "100", "--steps", "2", folder=tmp_path
        )
        assert done.returncode == 1
        assert "No space left on device" in done.stderr and str(out) in done.stderr
        assert not crashed(done.stderr)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_nobody_foresaw_is_called_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not a traceback, and not the user's file: one line that says where, and how to show more."""
    from typer.testing import CliRunner

    from glyffctl import cli

    def broken(*_: object) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glyffctl.workflows.embed.open_glyphs", lambda *_: broken())
    done = CliRunner().invoke(cli.app, ["embed"])
    assert done.exit_code == 1 and crashed(done.stderr)
    [line] = done.stderr.splitlines()
    for words in ("glyffctl/workflows/embed.py:", "TypeError: can't convert cuda:0", "please report", "TRACEBACK"):
        assert words in line
    monkeypatch.setenv("GLYFFCTL_TRACEBACK", "1")
    assert isinstance(CliRunner().invoke(cli.app, ["embed"]).exception, TypeError)


def test_waiting_threads_sleep_unless_the_user_says_otherwise() -> None:
    show = (
        "import os, sys; from glyffctl import cli; sys.argv[1:] = ['--version']\n"
        "try: cli.main()\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {name: value for name, value in ENVIRONMENT.items() if name != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": given} if given else {}
        done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.splitlines()[-1] == f"{expected} False"


NUMBERS = [
    (name, option.opts[0])
    for name, command in app.commands.items()
    for option in command.params
    if option.param_type_name == "option" and isinstance(option.default, int | float) and not option.is_flag
] + [
    ("train", name)
    for name in ("--epochs", "--images", "--minutes", "--batch", "--checkpoint-every", "--seed", "--freeze")
]
NUMBERS += [  # without a default of their own
    (name, option)
    for name in ("sample", "evaluate")
    for option in ("--steps", "--guidance", "--snr", "--langevin-steps", "--ddpm-variance")
]
ANY_SIZE = ("--epochs", "--minutes")
ZERO_TOO = (
    "--seed",
    "--freeze",
    "--gpus",
    "--port",
    "--guidance",
    "--min-dist",
    "--classifier-scale",
    "--ddpm-variance",
)


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_a_number_out_of_range_is_told_with_its_option(command: str, option: str) -> None:
    first = ["x"] if command == "sample" else []
    for value in ("-1", "0", "nan", "inf", "-inf", "1e30", "99999999999999999999999", "many", ""):
        if (value == "-1" and option in ("--guidance", "--classifier-scale")) or (
            value[:1] in "19" and option in ANY_SIZE
        ):
            continue
        if value == "0" and option in ZERO_TOO:
            continue
        done = CliRunner().invoke(app, [command, *first, f"{option}={value}"])
        assert done.exit_code == 2, done.output
        assert done.stderr.count("\n") == 1 and f"{option} must be" in done.stderr, done.stderr
        assert done.stderr.rstrip().endswith(f"not {value}".rstrip()) and any(digit in done.stderr for digit in "0123")


def test_an_error_names_the_option_that_sets_a_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library writes `field`; the command line shows the option, if the running command has one for it."""
    shown = {
        "prepare": "--range, --size, `steps`, `fonts`, `size.low` and `no field`",
        "visualize-umap": "`ranges`, `size`, `steps`, `fonts`, `size.low` and `no field`",
        "train": "`ranges`, `size`, `steps`, `fonts`, `size.low` and `no field`",
        "sample": "`ranges`, --size, --steps, `fonts`, `size.low` and `no field`",
    }

    def wrong(*_: object, **__: object) -> Any:
        raise UsageError("`ranges`, `size`, `steps`, `fonts`, `size.low` and `no field`")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glyffctl.workflows.prepare.PrepareOptions", wrong)
    monkeypatch.setattr("glyffctl.workflows.umap.UmapOptions", wrong)
    monkeypatch.setattr("glyffctl.workflows.train.TrainOptions", wrong)
    monkeypatch.setattr("glyffctl.workflows.sample_options.SampleOptions", wrong)
    for command, message in shown.items():
        done = CliRunner().invoke(app, [command])
        assert done.exit_code == 2 and done.stderr == f"error: {message}\n"


def test_an_option_with_another_name_than_its_field() -> None:
    commands = app.commands
    renamed = [
        ("train", "start", "--from"),
        ("visualize-umap", "colour", "--color"),
        ("visualize-umap", "drawn", "--with"),
    ]
    renamed += [("visualize-umap", "min_dist", "--min-dist"), ("train", "checkpoint_every", "--checkpoint-every")]
    for command, field, option in renamed:
        assert with_options(f"`{field}`: no", commands[command]) == f"{option}: no"
        assert with_options(f"`{field}`: no", commands["embed"]) == f"`{field}`: no"
    assert with_options("`size`: no", None) == "`size`: no"


def test_every_numeric_option_is_in_the_test_above() -> None:
    assert len(NUMBERS) == len(set(NUMBERS)) >= 25


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("command", sorted({command for command, _ in NUMBERS}))
def test_help_says_nothing_about_types_behind_switches(command: str, columns: str) -> None:
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": columns, "TERMINAL_WIDTH": columns}).output
    for line in text.splitlines():
        assert "<" not in line and "[x" not in line, line
        assert not re.search(r"--(json|help|check|tensorboard|steps-table)\b.*(BOOL|FLAG)", line), line
    assert "<" not in CliRunner().invoke(app, ["--help"], env={"COLUMNS": columns, "TERMINAL_WIDTH": columns}).output
    assert re.search(r"--seed +N ", text) or command in ("prepare", "embed", "studio")


@pytest.mark.parametrize("command", list(app.commands))
def test_help_is_whole_in_eighty_columns(command: str) -> None:
    eighty = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    text = CliRunner().invoke(app, [command, "--help"], env=eighty).output
    assert "…" not in text and ("--no-alternate-captions" in text) == (command == "prepare")
    # The command has its switches as before.
    assert [name for param in app.commands["prepare"].params for name in param.secondary_opts] == [
        "--no-alternate-captions"
    ]


def test_what_a_picture_says_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = ["sample", "gold", "--model", "bundled", "--count", "1", "--steps", "1", "--out", "x.png"]
    assert CliRunner().invoke(app, job).exit_code == 0
    command: Any = app.commands["sample"]
    allowed = {"--again", "--out", "--model", "--encoder", "--device", "--gif", "--fps", "--json", "--help"}
    values = {"--interval": ["1", "2"], "--sampler": ["ddim"], "--precision": ["fp32"], "--seed": ["0"]}
    takes = {option.opts[0]: option.nargs for option in command.params if option.opts[0].startswith("--")}
    refused = [option for option in takes if option not in allowed]
    assert {"--steps", "--count", "--from-file", "--negative", "--batch"} <= set(refused)
    for option in refused:  # even with the value that the picture has
        done = CliRunner().invoke(
            app, ["sample", "--again", "x.png", option, *values.get(option, ["1"] * takes[option])]
        )
        assert done.exit_code == 2 and option in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = CliRunner().invoke(app, ["sample", "--again", "x.png", "--steps", "10", "--seed", "1", "fish"])
    assert all(word in done.stderr for word in ("--steps", "--seed", "prompts"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
    job = ["sample", "--again", "x.png", "--out", "y.png", "--gif", "--fps", "5", "--model", "bundled", "--json"]
    done = CliRunner().invoke(app, [*job, "--encoder", "bundled"])
    assert done.exit_code == 0 and json.loads(done.stdout)["files"] == ["y.png", "y.gif"]
    assert Path("y.png").read_bytes() == Path("x.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["gold", "--gif"], ["gold.png", "gold.gif"]),
        (["--gif", "gold"], ["gold.png", "gold.gif"]),
        (["--gif", "--out", "x.png", "gold"], ["x.png", "x.gif"]),
        (["gold", "--gif", "some.gif"], ["gold.png", "some.gif"]),
        (["gold", "--gif=sub/some.GIF"], ["gold.png", "sub/some.GIF"]),
        (["--gif", "sub/some.gif", "gold"], ["gold.png", "sub/some.gif"]),
        (["gold", "--gif", "picture.png"], None),
        (["gold", "--gif", "sub/"], None),
        (["--", "--gif"], ["gif.png"]),
    ],
)
def test_a_gif_with_and_without_a_name(
    arguments: list[str], files: list[str] | None, tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = ["sample", "--model", str(tiny_run), "--count", "1", "--steps", "1", "--json"]
    done = CliRunner().invoke(app, [*job, *arguments])
    if files is None:
        assert done.exit_code == 2 and "--gif takes a file" in done.stderr and list(tmp_path.iterdir()) == []
    else:
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["files"] == files and all(Path(file).is_file() for file in files)


@pytest.mark.thorough
def test_the_model_in_the_box_is_called_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this machine keeps the program concerns nobody."""
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--model", "bundled"], ["--json"]):
        done = CliRunner().invoke(app, ["sample", "gold", "--count", "1", "--steps", "1", *more])
        assert done.exit_code == 0 and "bundled" in done.output
        assert "pretrained" not in done.output, done.output
    shown = CliRunner().invoke(app, ["train", "--from", "bundled", "--show-config"])
    assert shown.exit_code == 0, shown.output
    network = tomllib.loads(shown.stdout)["network"]
    assert (network["size"], network["text_width"]) == (128, 256)  # a preset leaves these to the data
    missing = CliRunner().invoke(app, ["train", "--from", "nowhere", "--show-config"])
    assert missing.exit_code == 1 and "nowhere" in missing.stderr and missing.stdout == ""


def test_plain_progress_comes_early_and_says_how_long_it_will_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("glyffctl.display.console.time.monotonic", lambda: now)

    def workflow() -> Generator[Event, None, None]:
        nonlocal now
        yield Progress("Short", 0, 1)
        now += 1
        yield Progress("Short", 1, 1)
        for done in range(0, 601):
            yield Progress("Long", 100 + done, 700, "things", "of some sort")
            now += 1
        yield Progress("Open", 1, None, "bytes")
        now += 4
        yield Progress("Open", 2, None, "bytes")

    Display().run(workflow())
    lines = capsys.readouterr().err.splitlines()
    long = [line for line in lines if line.startswith("Long")]
    assert not any(line.startswith("Short") for line in lines)
    assert long[0] == "Long: 103/700 things  about 10 min left  of some sort"
    assert 10 < len(long) < 20
    left = [int(re.search(r"about (\d+) (s|min)", line)[1]) for line in long if "left" in line]  # type: ignore[index]
    assert left[1] == 10 and left[-1] < 90
    assert lines[-1] == "Open: 2 bytes"


def test_a_reader_that_has_left_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nowhere:
        done = subprocess.run(
            [sys.executable, "-m", "glyffctl", "sample", "--help"], stdout=nowhere, stderr=subprocess.PIPE, check=False
        )
    assert done.stderr == b"" and done.returncode == 1


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="the size of a pipe can be set on Linux alone")
def test_a_reader_that_leaves_in_the_middle_is_no_error() -> None:
    command = [sys.executable, "-m", "glyffctl", "evaluate", "--help"]
    with subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)  # less than the help: the command waits for its reader
        read = 0
        while read < 4000:
            read += len(process.stdout.read(4000 - read))
        process.stdout.close()
        assert process.stderr.read() == b""

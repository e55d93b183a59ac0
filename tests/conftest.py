"""Real data for the tests: Noto CJK and Unihan, from the packages fonts-noto-cjk and unicode-data."""

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program has it: read when torch is loaded
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core for each worker

from glyffctl.workflows.events import Caution, Event, Note, Progress, Result, finish
from tests.stand_ins import make_t5

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from glyffctl.core.data.dataset import GlyphSet
    from glyffctl.workflows.train import TrainOptions
    from glyffctl.workflows.umap import UmapReport

# A busy machine is no failure: how long one example takes says nothing about what it shows.
settings.register_profile("glyffctl", deadline=None)
settings.load_profile("glyffctl")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests unless `-m` names them, and thorough ones where it leaves out hostile ones: the daily loop.

    A default `-m` in pyproject.toml would be lost where another one is given.
    """
    expression: str = config.getoption("markexpr")
    left_out = set() if "slow" in expression else {"slow"}
    if "not hostile" in expression and "thorough" not in expression:
        left_out.add("thorough")
    dropped = [item for item in items if left_out & {marker.name for marker in item.iter_markers()}]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in set(dropped)]


def follow(workflow: Generator[Event, None, Result]) -> tuple[list[Event], Result]:
    """Run a workflow to its end: all its events, and its result."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(workflow))
        except StopIteration as stop:
            return events, stop.value


def of_kind(events: Iterable[object], kind: str) -> list[Note | Caution]:
    """The notes and cautions of this kind among `events`."""
    return [event for event in events if isinstance(event, Note | Caution) and event.kind == kind]


def stop_at_checkpoint(training: Generator[Event, None, object]) -> None:
    """Leave a training after its first checkpoint, as a killed process would."""
    for event in training:
        if of_kind([event], "checkpoint"):
            break
    training.close()


def cautions(events: Iterable[object]) -> list[str]:
    """The kinds of the cautions among `events`, in order."""
    return [event.kind for event in events if isinstance(event, Caution)]


def least_seconds(work: Callable[[], object], tries: int = 3) -> float:
    """Processor time of `work` in this thread: the least of some tries, for other tests leave garbage to collect."""
    seconds = []
    for _ in range(tries):
        started = time.thread_time()
        work()
        seconds.append(time.thread_time() - started)
    return min(seconds)


def crashed(output: str) -> bool:
    """Whether a program reports a bug of its own."""
    return "Traceback" in output or "a bug in glyffctl" in output


def page_data(path: Path) -> dict[str, Any]:
    """What is written into the page of `visualize-umap`."""
    text = path.read_text(encoding="utf-8")
    begin = text.index('id="data">') + len('id="data">')
    content: dict[str, Any] = json.loads(text[begin : text.index("</script>", begin)])
    return content


@pytest.fixture(scope="session", autouse=True)
def quick_checkpoints() -> Iterator[None]:
    """Sheets take 2 steps instead of 20, and the loss is measured at 3 levels of 8: they would cost more than training.

    `test_training.py` measures it at all levels.
    """
    from glyffctl.core.training import denoising
    from glyffctl.workflows import checkpoint_samples

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(denoising, "VALIDATION_SIGMAS", (0.3, 2.0, 10.0))
        patch.setattr(checkpoint_samples, "SHEET_RECIPE", replace(checkpoint_samples.SHEET_RECIPE, steps=2))
        yield


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small T5 encoder with random weights; tests only read it."""
    return make_t5(tmp_path_factory.mktemp("encoders") / "t5")


@pytest.fixture(scope="session")
def noto_folder() -> Path:
    """The folder of Noto Sans and Serif CJK, Regular and Bold (install fonts-noto-cjk)."""
    folder = Path("/usr/share/fonts/opentype/noto")
    assert (folder / "NotoSansCJK-Regular.ttc").is_file(), "the tests need the package fonts-noto-cjk"
    return folder


@pytest.fixture(scope="session")
def noto_sans(noto_folder: Path) -> Path:
    """Noto Sans CJK Regular: a collection of ten faces."""
    return noto_folder / "NotoSansCJK-Regular.ttc"


@pytest.fixture(scope="session")
def noto_face(noto_sans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The face of `noto_sans` that `prepare` takes, in a file of its own: nine others need not be read beside it."""
    from fontTools.ttLib import TTFont

    path = tmp_path_factory.mktemp("fonts") / "NotoSansCJKsc-Regular.otf"
    with TTFont(noto_sans, fontNumber=2, lazy=True) as font:
        font.save(path, reorderTables=None)  # tables as they are
    return path


UNIHAN = Path("/usr/share/unicode/Unihan_Readings.txt.bz2")


@pytest.fixture(scope="session")
def unihan() -> Path:
    """Unihan_Readings of Unicode 15 with Unihan_IRGSources beside it (install unicode-data)."""
    assert UNIHAN.is_file(), "the tests need the package unicode-data"
    return UNIHAN


@pytest.fixture(scope="session", autouse=True)
def unihan_once() -> Iterator[None]:
    """Every `prepare` with `unihan` takes what the first one parsed: to parse it takes half of its time."""
    from glyffctl.core.data.definitions import Entry, read_definitions
    from glyffctl.workflows import prepare_captions

    entries: dict[int, Entry] = {}

    def read(path: Path) -> dict[int, Entry]:
        if path != UNIHAN:
            return read_definitions(path)
        if not entries:
            entries.update(read_definitions(path))
        return entries.copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_captions, "read_definitions", read)
        yield


@pytest.fixture(scope="module")
def font_workers_once() -> Iterator[None]:
    """Every `prepare` of these tests has the same font workers: a pool takes most of a second to start.

    They stay in the folder that they were started in.
    """
    from glyffctl.core.data.font_workers import FontWorkers, font_workers
    from glyffctl.workflows import prepare

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        pool: list[FontWorkers] = []

        @contextmanager
        def shared() -> Iterator[FontWorkers]:
            if not pool:
                pool.append(stack.enter_context(font_workers()))
            yield pool[0]

        patch.setattr(prepare, "font_workers", shared)
        yield


@dataclass(frozen=True)
class Workshop:
    """A small world to train in: data of 64 real glyphs at 32×32, its embeddings, and a TOML file of a tiny network."""

    folder: Path
    data: Path
    encoder: Path
    config: Path


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, noto_face: Path, unihan: Path) -> Workshop:
    """Made once by the workflows themselves; tests only read it."""
    from glyffctl.workflows.embed import EmbedOptions, embed
    from glyffctl.workflows.prepare import PrepareOptions, prepare

    folder = tmp_path_factory.mktemp("workshop")
    data, encoder, config = folder / "data", make_t5(folder / "t5"), folder / "tiny.toml"
    finish(prepare(PrepareOptions(fonts=(noto_face,), definitions=unihan, size=32, ranges="U+4E00-4E45", out=data)))
    finish(embed(EmbedOptions(data=data, encoder=str(encoder))))
    config.write_text(TINY, encoding="utf-8")
    return Workshop(folder, data, encoder, config)


TINY = """
[network]
patch = 4
channels = [32, 32]
blocks = 1
attention = [1]
context_width = 32

[training]
images = 96
batch = 8
warmup = 16
precision = "fp32"
holdout = 0.1
checkpoint_every = 32
"""


def trained(workshop: Workshop, name: str, settings: str, preset: str | None = None) -> Path:
    """The run folder of a training by these settings that is finished."""
    from glyffctl.workflows.train import TrainOptions, train

    config, out = workshop.folder / f"{name}.toml", workshop.folder / "runs" / name
    config.write_text(settings, encoding="utf-8")
    finish(train(TrainOptions(data=workshop.data, config=config, gpus=0, out=out, preset=preset)))
    return out


@pytest.fixture(scope="session")
def tiny_run(workshop: Workshop) -> Path:
    """A run folder whose training is finished; tests only read it."""
    return trained(workshop, "tiny", TINY)


TINY_CODEC = """
[network]
channels = [16, 32]

[training]
images = 64
batch = 8
warmup = 0
precision = "fp32"
holdout = 0.1
ema_decay = 0.5
checkpoint_every = 32
"""


@pytest.fixture(scope="session")
def codec_run(workshop: Workshop) -> Path:
    """The run folder of an autoencoder whose training is finished; tests only read it."""
    return trained(workshop, "codec", TINY_CODEC, "autoencoder")


TINY_TOWERS = """
[network]
loss = "softmax"
patch = 4
channels = [8, 16]
embedding = 16
text_channels = 16
head_width = 8
dropout = 0.0

[training]
images = 32
batch = 8
warmup = 0
precision = "fp32"
holdout = 0.2
ema_decay = 0.5
checkpoint_every = 16
"""


@pytest.fixture(scope="session")
def towers_run(workshop: Workshop) -> Path:
    """The run folder of contrastive towers whose training is finished; tests only read it."""
    return trained(workshop, "towers", TINY_TOWERS, "contrastive")


TINY_GENERATOR = """
[network]
channels = [8, 16]
blocks = 1
latent = 8
context_width = 8

[training]
images = 48
batch = 8
warmup = 0
holdout = 0.1
precision = "fp32"
checkpoint_every = 24
"""


def generator_options(workshop: Workshop, kind: str, out: Path) -> "TrainOptions":
    """Options that train a tiny model that draws in one pass: "vae" or "gan"."""
    from glyffctl.workflows.train import TrainOptions

    config = out.with_suffix(".toml")
    config.write_text(TINY_GENERATOR, encoding="utf-8")
    return TrainOptions(data=workshop.data, out=out, gpus=0, preset=kind, config=config)


@pytest.fixture(scope="session")
def generator_runs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of models that draw in one pass, by the kind of their network; tests only read them."""
    from glyffctl.core.networks.network import GENERATORS
    from glyffctl.workflows.train import train

    folder = tmp_path_factory.mktemp("generators")
    for kind in GENERATORS:
        finish(train(generator_options(workshop, kind, folder / kind)))
    return {kind: folder / kind for kind in GENERATORS}


@pytest.fixture(scope="session")
def map_data(tmp_path_factory: pytest.TempPathFactory, noto_face: Path, unihan: Path) -> Path:
    """400 glyphs at 32×32 from two places of the code chart: many with the radical grass, many with fish or metal."""
    from glyffctl.workflows.prepare import PrepareOptions, prepare

    out = tmp_path_factory.mktemp("map") / "data"
    ranges = "U+8279-U+8360,U+9491-U+9540,U+9C7C-U+9CA0"
    finish(prepare(PrepareOptions(fonts=(noto_face,), definitions=unihan, size=32, ranges=ranges, out=out)))
    return out


@pytest.fixture(scope="session")
def map_glyphs(map_data: Path) -> "GlyphSet":
    """The glyphs of `map_data`."""
    from glyffctl.core.data.folder import open_glyphs

    return open_glyphs(map_data)


@pytest.fixture(scope="session")
def mapped(map_data: Path, tmp_path_factory: pytest.TempPathFactory) -> "tuple[UmapReport, Path]":
    """The map of `map_data`, made once; the layout is in `map_data` then."""
    from glyffctl.workflows.umap import UmapOptions, visualize

    out = tmp_path_factory.mktemp("map") / "out"
    events, report = follow(visualize(UmapOptions(data=map_data, out=out)))
    epochs = [event.done for event in events if isinstance(event, Progress) and event.task == "Laying out"]
    assert not report.cached
    assert len(epochs) > 3 and epochs == sorted(epochs) and epochs[-1] == 500
    return report, out


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pipeline of diffusers with its own encoder; tests only read it."""
    from tests.stand_in_pipelines import add_encoder, make_pipeline

    folder = make_pipeline(tmp_path_factory.mktemp("models") / "pipeline")
    add_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    """Chromium with a window of 1200×800 pixels, a mouse and no network."""
    from tests.browsing import chromium

    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def phone() -> "Iterator[Chrome]":
    """Chromium with a screen of 390×844 pixels, fingers and no network."""
    from tests.browsing import chromium

    with chromium(phone=True) as driver:
        yield driver

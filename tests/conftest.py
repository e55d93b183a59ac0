"""Real data for the tests: Noto CJK and Unihan, from the packages fonts-noto-cjk and unicode-data."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from glyffctl.workflows.events import Event, Result, finish
from tests.stand_ins import make_t5

# A busy machine is no failure: how long one example takes says nothing about what it shows.
settings.register_profile("glyffctl", deadline=None)
settings.load_profile("glyffctl")


def follow(workflow: Generator[Event, None, Result]) -> tuple[list[Event], Result]:
    """Run a workflow to its end: all its events, and its result."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(workflow))
        except StopIteration as stop:
            return events, stop.value


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
def unihan() -> Path:
    """Unihan_Readings of Unicode 15 with Unihan_IRGSources beside it (install unicode-data)."""
    path = Path("/usr/share/unicode/Unihan_Readings.txt.bz2")
    assert path.is_file(), "the tests need the package unicode-data"
    return path


@dataclass(frozen=True)
class Workshop:
    """A small world to train in: data of 64 real glyphs at 32×32, its embeddings, and a TOML file of a tiny network."""

    folder: Path
    data: Path
    encoder: Path
    config: Path


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path, unihan: Path) -> Workshop:
    """Made once by the workflows themselves; tests only read it."""
    from glyffctl.workflows.embed import EmbedOptions, embed
    from glyffctl.workflows.prepare import PrepareOptions, prepare

    folder = tmp_path_factory.mktemp("workshop")
    data, encoder, config = folder / "data", make_t5(folder / "t5"), folder / "tiny.toml"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=32, ranges="U+4E00-4E45", out=data)))
    finish(embed(EmbedOptions(data=data, encoder=str(encoder))))
    config.write_text(TINY, encoding="utf-8")
    return Workshop(folder, data, encoder, config)


TINY = """
[network]
patch = 4
channels = [32, 64]
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


@pytest.fixture(scope="session")
def tiny_run(workshop: Workshop) -> Path:
    """A run folder whose training is finished; tests only read it."""
    from glyffctl.workflows.train import TrainOptions, train

    out = workshop.folder / "runs" / "tiny"
    finish(train(TrainOptions(data=workshop.data, config=workshop.config, gpus=0, out=out)))
    return out

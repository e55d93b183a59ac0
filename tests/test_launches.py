"""How much work a training step gives a GPU: each launch costs it some microseconds, whatever the sizes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.models.config import Config, fit_to_data, read_preset
from glyffctl.core.networks.unet import UNetConfig
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from tests.conftest import Workshop
from tests.pretended_gpu import pretended_gpu
from tests.recorded_graph import recorded_graphs


def narrow(config: Config) -> Config:
    """The same layers, with as many widths as there were."""
    network = config.network
    assert isinstance(network, UNetConfig)
    channels = tuple(8 * (level + 1) for level in range(len(network.channels)))
    network = replace(network, channels=channels, head_width=8, context_width=8)
    training = replace(config.training, batch=2, precision="bf16", compile=False)
    return replace(config, network=network, training=training)


@pytest.mark.thorough
@pytest.mark.parametrize(("preset", "most"), [("cpu", 1680), ("gpu", 1370)])
def test_a_captured_step_launches_no_more_than_it_did(
    preset: str, most: int, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the kernels of `core.kernels`, which save more; see `counted_launches` for what counts."""
    glyphs = open_glyphs(workshop.data)
    embeddings = load_embeddings(workshop.data, glyphs.captions)
    config = narrow(fit_to_data(read_preset(preset), glyphs.size, embeddings.width))
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        trainer = Trainer(config, glyphs, embeddings, torch.device("cuda", 0))
        assert finish(trainer.prepare()) == () and trainer._captured is not None
        graph = next(iter(trainer._captured._graphs.values()))
    launches: Counter[str] = graph.launches  # type: ignore[attr-defined]  # the stand-in's
    assert launches["convolution"] == launches["convolution_backward"] > 20  # both passes were seen
    assert launches.total() <= most, launches.most_common(12)

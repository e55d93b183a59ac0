"""The examples of CONTRIBUTING work as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glyffctl.core.codecs.codec import CODECS
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.evaluation.metric import METRICS
from glyffctl.core.networks.network import NETWORKS
from glyffctl.core.text.encoder import ENCODERS
from tests import test_codecs, test_encoders, test_generate, test_metric_table, test_networks, test_samplers

PAGE = Path(__file__).parents[1] / "examples" / "CONTRIBUTING.md"
PRELUDE = """
import math
from collections.abc import Iterator
from dataclasses import dataclass
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from glyffctl.core.codecs.codec import CODECS
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoise
from glyffctl.core.diffusion.samplers import SAMPLERS, Draw, Sampler, Step, denoise_at, levels
from glyffctl.core.errors import UsageError
from glyffctl.core.estimates import mean
from glyffctl.core.evaluation.metric import METRICS, Pictures
from glyffctl.core.evaluation.report import Row
from glyffctl.core.noise import normal
from glyffctl.core.text.encoder import ENCODERS, TextEncoder
"""


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    """Run the page's examples; the tables are as before when the test ends."""
    tables: list[dict[str, Any]] = [NETWORKS, SAMPLERS, CODECS, ENCODERS]
    before, metrics = [dict(table) for table in tables], list(METRICS)
    blocks = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "\n\n" in b]
    assert len(blocks) == 5
    for block in blocks:
        # dataclasses look for their module: without it annotations are not postponed
        code = block.replace("from __future__ import annotations\n", "")
        exec(compile(PRELUDE + code, str(PAGE), "exec", dont_inherit=True), {"__name__": "tests.test_contributing"})
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    METRICS[:] = metrics


def test_the_network() -> None:
    network = test_networks.make("two-layers")
    test_networks.test_its_output_has_the_shape_of_its_input(network)
    test_networks.test_every_row_is_its_own(network)
    test_networks.test_noise_level_and_text_count(network)
    test_networks.test_its_settings_survive_a_round_trip_and_know_the_data("two-layers")


def test_the_sampler() -> None:
    test_samplers.test_network_calls("euler-ancestral")
    test_samplers.test_only_stochastic_samplers_draw_and_never_twice("euler-ancestral")
    test_generate.test_a_picture_is_the_same_in_any_batch("euler-ancestral")


def test_the_codec() -> None:
    codec = CODECS["negative"](test_codecs.SIZE)
    test_codecs.test_shapes_and_types(codec)
    test_codecs.test_what_is_decoded_is_the_picture(codec)


def test_the_text_encoder() -> None:
    test_encoders.test_shapes_masks_and_limits("letters")
    test_encoders.test_a_text_has_the_same_vectors_in_any_company_and_every_time("letters")
    test_encoders.test_texts_differ("letters")


def test_the_metric() -> None:
    test_metric_table.test_rows_are_named_explained_and_have_their_interval(METRICS[-1])
    test_metric_table.test_blank_pictures_and_few_give_no_broken_numbers(METRICS[-1])

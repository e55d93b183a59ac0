"""What every codec of the table must do; and that pixels are exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glyffctl.core.codecs.codec import CODECS, Codec
from glyffctl.core.codecs.pixels import Pixels, to_pixels, to_unit
from glyffctl.core.errors import UsageError
from glyffctl.core.models.config import parse

SIZE = 64


def pictures() -> Tensor:
    """White paper with black and grey strokes, (4, 64, 64) uint8."""
    found = torch.full((4, SIZE, SIZE), 255, dtype=torch.uint8)
    found[0, 16:24] = 0
    found[1, :, 30:34] = 0
    found[2, 8:56, 8:56] = 128
    return found


@pytest.fixture(params=list(CODECS))
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param](SIZE)


def test_shapes_and_types(codec: Codec) -> None:
    x = codec.encode(pictures())
    assert codec.size == SIZE
    assert x.shape == (4, *codec.shape) and x.dtype == torch.float32
    assert codec.shape[1] == codec.shape[2]
    if codec.limit is not None:
        assert float(x.abs().max()) <= codec.limit + 1e-6
    decoded = codec.decode(x)
    assert decoded.shape == (4, SIZE, SIZE) and decoded.dtype == torch.uint8


def test_what_is_decoded_is_the_picture(codec: Codec) -> None:
    """To within a tenth of the greys on average, for strokes that are not finer than a codec may be."""
    decoded = codec.decode(codec.encode(pictures()))
    assert float((decoded.float() - pictures().float()).abs().mean()) < 25


def test_noise_and_other_precisions_can_be_decoded(codec: Codec) -> None:
    noise = 3 * torch.randn(2, *codec.shape, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        decoded = codec.decode(noise.to(dtype))
        assert decoded.dtype == torch.uint8 and decoded.float().std() > 0


def test_pixels_are_exact() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    for codec in (Pixels(16), Pixels(16, 3), Pixels(16, 1, 0.0), Pixels(16, 3, 0.0)):
        x = codec.encode(every)
        assert x.shape == (1, *codec.shape)
        assert float(x.min()) == codec.low and float(x.max()) == 1
        assert torch.equal(codec.decode(x), every)
    assert torch.equal(to_pixels(to_unit(every)), every)


def test_what_is_no_codec_is_named() -> None:
    with pytest.raises(UsageError, match=r"codec.kind .*pixels"):
        parse({"codec": {"kind": "pixel"}, "training": {"minutes": 1}})

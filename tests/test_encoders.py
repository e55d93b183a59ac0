"""What every text encoder of the table must do, and the bundled one, and one as CONTRIBUTING shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import EmbeddingError
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.noise import normal
from glyffctl.core.text.encoder import ENCODERS, TextEncoder
from glyffctl.core.text.loading import load_encoder

TEXTS = ["gold", "", "a kind of fish", "鋰"]


class Letters(TextEncoder):
    """Every letter is a token, and its vector a fixed random one."""

    def __init__(self, max_tokens: int) -> None:
        super().__init__("letters", width=32, fingerprint="letters/1", max_tokens=max_tokens)

    def split(self, texts: list[str], limit: int) -> list[list[int]]:
        return [[ord(letter) for letter in text.lower()][:limit] for text in texts]

    def encode_ids(self, ids: list[list[int]]) -> Condition:
        length = max(1, *map(len, ids))
        mask = torch.arange(length) < torch.tensor([len(row) for row in ids])[:, None]
        codes = torch.tensor([row + [0] * (length - len(row)) for row in ids])
        tokens = normal(0, codes.flatten(), (self.width,), 0).unflatten(0, codes.shape)
        return Condition(tokens * mask[..., None], mask)


@pytest.fixture(params=[BUNDLED, "letters", *ENCODERS])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(ENCODERS, "letters", Letters)
    return str(request.param)


def test_shapes_masks_and_limits(name: str) -> None:
    encoder = load_encoder(name, max_tokens=8)
    encoded = encoder.encode(TEXTS)
    assert encoded.tokens.shape == (*encoded.mask.shape, encoder.width) and encoded.tokens.dtype == torch.float32
    assert encoded.mask.any(1).tolist() == [True, False, True, True]
    assert not encoded.tokens[~encoded.mask].any()
    assert bool(encoded.tokens.isfinite().all())
    assert encoded.mask.sum(1).tolist() == [len(ids) for ids in encoder.tokenize(TEXTS)]
    long = "an old name for a district in a province; " * 5
    assert encoder.is_cut(long) and not encoder.is_cut("gold")
    assert len(encoder.tokenize([long])[0]) == 8


def test_a_text_has_the_same_vectors_in_any_company_and_every_time(name: str) -> None:
    encoder, other = load_encoder(name), load_encoder(name)
    assert encoder.fingerprint == other.fingerprint and encoder.name == name
    together, alone = encoder.encode(TEXTS), other.encode(["gold"])
    length = alone.mask.shape[1]
    torch.testing.assert_close(together.tokens[:1, :length], alone.tokens, rtol=1e-5, atol=1e-5)


def test_texts_differ(name: str) -> None:
    encoder = load_encoder(name)
    gold, fish = (encoder.encode([text]).tokens[0].sum(0) for text in ("gold", "a kind of fish"))
    assert not torch.allclose(gold, fish)
    assert not encoder.find_unknown("gold")


def test_a_misspelled_name_is_answered_with_the_right_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ENCODERS, "letters", Letters)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    for wrong, right in (("leters", "letters"), ("bundeld", BUNDLED)):
        with pytest.raises(EmbeddingError, match=f"did you mean {right}"):
            load_encoder(wrong)

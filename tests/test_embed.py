"""The cache of embeddings: it holds what the encoder gives, and one that does not fit is refused."""

import json
import resource
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from glyffctl.core.data.caption_table import captions_digest
from glyffctl.core.data.embeddings import FILE_NAME, Embeddings, load_embeddings, save_embeddings, to_half
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.errors import EmbeddingError, OutputError
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows import embed as workflow
from glyffctl.workflows.embed import EmbedOptions, EmbedReport, embed
from glyffctl.workflows.events import Event, Progress
from tests.conftest import cautions, follow, of_kind
from tests.stand_ins import DEFINITIONS, make_bert


@pytest.fixture
def encoder(t5: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(t5, tmp_path / "t5"))


def write_data(folder: Path, texts: list[str]) -> Path:
    """An image folder with a picture for each text."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number, text in enumerate(texts):
        Image.new("L", (8, 8), 255).save(folder / f"{number}.png")
        rows.append(json.dumps({"file_name": f"{number}.png", "text": text}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data", [*DEFINITIONS, "", DEFINITIONS[0]])


def run(options: EmbedOptions) -> tuple[EmbedReport, list[Event]]:
    events, report = follow(embed(options))
    return report, events


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_every_caption_is_encoded_once(
    batch_tokens: int, data: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "BATCH_TOKENS", batch_tokens)
    report, events = run(EmbedOptions(data=data, encoder=str(encoder)))
    captions = open_glyphs(data).captions
    assert captions == [*DEFINITIONS, ""]
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == len(captions)
    assert cautions(events) == []

    embeddings = load_embeddings(data, captions)
    text_encoder = load_encoder(encoder)
    assert embeddings.encoder == str(encoder)
    assert embeddings.fingerprint == text_encoder.fingerprint
    assert embeddings.width == report.width == text_encoder.width
    assert embeddings.lengths.tolist() == [len(row) for row in text_encoder.tokenize(captions)]
    assert report.tokens == int(embeddings.lengths.sum())
    assert report.longest == embeddings.longest == int(embeddings.lengths.max())
    order = torch.randperm(len(captions))
    batch = embeddings.batch(order)
    expected = text_encoder.encode([captions[i] for i in order.tolist()])
    assert torch.equal(batch.mask, expected.mask)
    torch.testing.assert_close(batch.tokens, expected.tokens, atol=2e-3, rtol=1e-3)


def test_a_second_run_does_nothing(data: Path, encoder: Path) -> None:
    options = EmbedOptions(data=data, encoder=str(encoder))
    first, _ = run(options)
    before = first.path.stat()
    second, events = run(options)
    assert (first.reused, second.reused) == (False, True)
    assert (second.captions, second.tokens, second.width) == (first.captions, first.tokens, first.width)
    assert of_kind(events, "embeddings-up-to-date")
    assert not [event for event in events if isinstance(event, Progress)]
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_texts_encoder_or_settings_encode_again(data: Path, encoder: Path, tmp_path: Path) -> None:
    options = EmbedOptions(data=data, encoder=str(encoder))
    run(options)
    write_data(data, ["something else", *DEFINITIONS])
    with pytest.raises(EmbeddingError, match=r"other captions.*glyffctl embed --data"):
        load_embeddings(data, open_glyphs(data).captions)
    assert not run(options)[0].reused
    load_embeddings(data, open_glyphs(data).captions)

    other = EmbedOptions(data=data, encoder=str(encoder), max_tokens=32)
    assert not run(other)[0].reused

    weights = {key: value * 1.01 for key, value in load_file(encoder / "model.safetensors").items()}
    save_file(weights, encoder / "model.safetensors", {"format": "pt"})
    assert not run(other)[0].reused

    bert = make_bert(tmp_path / "bert", width=16)
    report, _ = run(EmbedOptions(data=data, encoder=str(bert), max_tokens=32))
    assert (report.reused, report.width) == (False, 16)


def test_order_of_the_captions_matters(data: Path, encoder: Path) -> None:
    run(EmbedOptions(data=data, encoder=str(encoder)))
    captions = open_glyphs(data).captions
    with pytest.raises(EmbeddingError, match="other captions"):
        load_embeddings(data, captions[::-1])


def test_without_the_encoder_its_cache_is_kept(data: Path, encoder: Path) -> None:
    options = EmbedOptions(data=data, encoder=str(encoder))
    run(options)
    shutil.rmtree(encoder)
    report, events = run(options)
    assert report.reused
    assert cautions(events) == ["embeddings-kept"]
    with pytest.raises(EmbeddingError, match="no such folder"):
        run(EmbedOptions(data=data, encoder=str(encoder), max_tokens=32))
    (data / FILE_NAME).unlink()
    with pytest.raises(EmbeddingError, match="no such folder"):
        run(options)


def test_cut_captions_are_counted(data: Path, encoder: Path) -> None:
    lengths = torch.tensor([len(row) for row in load_encoder(encoder).tokenize(DEFINITIONS)])
    limit = int(lengths.median())
    cut = int((lengths > limit).sum())
    report, events = run(EmbedOptions(data=data, encoder=str(encoder), max_tokens=limit))
    [caution] = of_kind(events, "captions-cut")
    assert (caution.facts["cut"], caution.facts["max_tokens"]) == (cut, limit)
    assert report.longest == limit


def test_captions_that_say_nothing_or_the_same_are_counted(tmp_path: Path) -> None:
    texts = ["gold", "Gold", "gòld", "вода", "гора", "火", "fire 火", "fire 水", "", "gold tree"]
    events, _ = follow(embed(EmbedOptions(data=write_data(tmp_path / "data", texts))))
    assert cautions(events) == ["captions-unknown", "captions-indistinct"]
    assert of_kind(events, "captions-unknown")[0].facts == {"unknown": ("вода", "гора", "火")}
    indistinct = of_kind(events, "captions-indistinct")[0].facts["indistinct"]
    assert isinstance(indistinct, tuple) and len(indistinct) == 5 and {"вода", "гора"} < {*indistinct}
    events, _ = follow(embed(EmbedOptions(data=write_data(tmp_path / "plain", ["gold", "Gold", "gòld", "a tree"]))))
    assert cautions(events) == []


def test_captions_alike_because_they_are_cut_are_told_of_as_cut(tmp_path: Path) -> None:
    texts = ["a kind of fish", "a kind of bird", "gold"]
    events, _ = follow(embed(EmbedOptions(data=write_data(tmp_path / "data", texts), max_tokens=3)))
    assert cautions(events) == ["captions-cut"]
    assert of_kind(events, "captions-cut")[0].facts == {"cut": 2, "indistinct": 2, "max_tokens": 3}


def test_a_data_set_without_any_words(encoder: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "silent", ["", ""])
    run(EmbedOptions(data=data, encoder=str(encoder)))
    batch = load_embeddings(data, [""]).batch(torch.tensor([0, 0]))
    assert batch.tokens.shape == (2, 1, 32)
    assert not batch.mask.any()


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _other_file(path: Path) -> None:
    save_file({"x": torch.zeros(1)}, path)


def _other_version(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"glyffctl-embeddings/1", b"glyffctl-embeddings/9"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, "has no embeddings"),
        (_flip_a_bit, "damaged"),
        (_cut_short, "cannot read"),
        (_other_file, "this version reads"),
        (_other_version, "this version reads"),
    ],
)
def test_a_damaged_cache_is_refused_and_made_again(damage: object, says: str, data: Path, encoder: Path) -> None:
    assert callable(damage)
    options = EmbedOptions(data=data, encoder=str(encoder))
    run(options)
    damage(data / FILE_NAME)
    with pytest.raises(EmbeddingError, match=f"{says}.*run `glyffctl embed --data") as caught:
        load_embeddings(data, open_glyphs(data).captions)
    assert "\n" not in str(caught.value)
    assert not run(options)[0].reused
    load_embeddings(data, open_glyphs(data).captions)


@pytest.mark.hostile
def test_a_full_disk_is_told_and_leaves_the_old_cache(data: Path) -> None:
    captions = open_glyphs(data).captions
    lengths = torch.full((len(captions),), 1000)
    tokens = torch.ones(int(lengths.sum()), 64, dtype=torch.float16)

    def save(rows: int) -> Embeddings:
        return save_embeddings(
            data,
            captions,
            tokens[: rows * len(captions)],
            lengths * rows // 1000,
            encoder="e",
            fingerprint="f",
            max_tokens=1000,
        )

    save(1)
    before = sorted(data.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*embeddings"):
            save(1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(data.iterdir()) == before
    assert load_embeddings(data, captions).longest == 1


def test_values_beyond_float16_are_clipped() -> None:
    assert to_half(torch.tensor([1e6, -1e6, 0.5])).tolist() == [65504.0, -65504.0, 0.5]


@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=9),
    picks=st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=6),
    length=st.none() | st.integers(1, 9),
)
def test_batch_gathers_what_a_loop_would(lengths: list[int], picks: list[tuple[int, bool]], length: int | None) -> None:
    total = max(1, sum(lengths))
    tokens = (torch.arange(total * 3, dtype=torch.float16) + 1).reshape(total, 3)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    embeddings = Embeddings("e", "f", 64, captions_digest([]), tokens, offsets)
    index = torch.tensor([row % len(lengths) for row, _ in picks])
    keep = torch.tensor([kept for _, kept in picks])
    batch = embeddings.batch(index, length, keep)

    rows = [
        tokens[offsets[i] : offsets[i + 1]][: length if length else None].float() if kept else tokens[:0].float()
        for i, kept in zip(index.tolist(), keep.tolist(), strict=True)
    ]
    width = length or max(1, *(len(row) for row in rows))
    assert batch.tokens.shape == (len(rows), width, 3)
    for row, vectors, mask in zip(rows, batch.tokens, batch.mask, strict=True):
        assert mask.tolist() == [i < len(row) for i in range(width)]
        assert torch.equal(vectors[: len(row)], row)
        assert not vectors[len(row) :].any()

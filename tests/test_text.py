"""Text encoders: the vectors are those of the plain model, and what is wrong with one is told in one line."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glyffctl.core.errors import EmbeddingError, UsageError
from glyffctl.core.io.bundled import BUNDLED, pretrained
from glyffctl.core.text.encoder import PretrainedEncoder, TextEncoder
from glyffctl.core.text.loading import load_encoder
from glyffctl.core.text.t5 import T5Encoder
from tests.stand_ins import DEFINITIONS, make_bert, serve_hub


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("encoders") / "bert")


@pytest.fixture
def copy(t5: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(t5, tmp_path / "encoder"))


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_vectors_are_those_of_the_plain_model_without_padding(kind: str, request: pytest.FixtureRequest) -> None:
    from transformers import AutoTokenizer, BertModel, T5EncoderModel

    folder = request.getfixturevalue(kind)
    plain = {"t5": T5EncoderModel, "bert": BertModel}[kind].from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = load_encoder(folder).encode(DEFINITIONS)
    lengths = batch.mask.sum(1)
    assert len(set(lengths.tolist())) > 1
    assert batch.tokens.dtype == torch.float32
    for row, text in enumerate(DEFINITIONS):
        with torch.no_grad():
            expected = plain(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert batch.mask[row].tolist() == [i < len(expected) for i in range(batch.mask.shape[1])]
        torch.testing.assert_close(batch.tokens[row, : len(expected)], expected, atol=1e-5, rtol=0)
        assert not batch.tokens[row, len(expected) :].any()


def test_the_empty_text_is_no_caption(t5: Path) -> None:
    encoder = load_encoder(t5)
    batch = encoder.encode(["", "gold; money", " "])
    assert batch.mask.any(1).tolist() == [False, True, False]
    assert not batch.tokens[0].any()
    assert torch.equal(batch.tokens[1], encoder.encode(["gold; money"]).tokens[0])
    alone = encoder.encode([""])
    assert alone.tokens.shape == (1, 1, encoder.width)
    assert not alone.mask.any()


def test_vectors_can_go_into_a_graph(t5: Path) -> None:
    weight = torch.ones(32, requires_grad=True)
    loss = (load_encoder(t5).encode(["gold"]).tokens * weight).sum()
    assert torch.autograd.grad(loss, weight)[0].any()


def test_long_texts_are_cut_but_keep_their_end_mark(t5: Path) -> None:
    encoder = load_encoder(t5, max_tokens=6)
    long, short = encoder.tokenize(["river, stream; water", "fish"])
    assert len(long) == 6
    assert long[-1] == short[-1]
    exactly = next(text for text in DEFINITIONS if len(encoder.tokenize([text])[0]) < 6)
    assert encoder.is_cut("river, stream; water")
    assert not encoder.is_cut(exactly)
    assert not load_encoder(t5, max_tokens=len(short)).is_cut("fish")
    assert load_encoder(t5, max_tokens=len(short) - 1).is_cut("fish")


def test_the_limit_of_the_model_is_kept(bert: Path) -> None:
    assert load_encoder(bert, max_tokens=80).encode(["gold " * 200]).tokens.shape[1] == 80
    with pytest.raises(EmbeddingError, match="at most 80"):
        load_encoder(bert, max_tokens=81)
    with pytest.raises(UsageError, match="at least 2"):
        load_encoder(bert, max_tokens=1)


def test_name_and_width(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    encoder = load_encoder("encoder")
    assert encoder.name == str(copy)
    assert encoder.width == 32


def test_fingerprint_knows_weights_and_tokenizer(t5: Path, copy: Path) -> None:
    first = load_encoder(t5).fingerprint
    assert load_encoder(copy, max_tokens=8).fingerprint == first
    weights = load_file(copy / "model.safetensors")
    key = next(key for key in weights if key.endswith("wo.weight"))
    weights[key][-1, -1] += 0.001
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    second = load_encoder(copy).fingerprint
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[5], vocabulary[6] = vocabulary[6], vocabulary[5]
    shutil.copytree(t5, copy, dirs_exist_ok=True)
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert len({first, second, load_encoder(copy).fingerprint}) == 3


def test_a_missing_pooling_layer_does_not_matter(bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "bert"))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if "pooler" not in key},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    assert load_encoder(folder).fingerprint == load_encoder(folder).fingerprint
    assert torch.equal(load_encoder(folder).encode(["gold"]).tokens, load_encoder(bert).encode(["gold"]).tokens)


def _edit_json(file: str, **values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return edit


def _cut(file: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[: len(data) // 2])

    return cut


def _remove(*files: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return remove


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lose_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[next(key for key in weights if key.endswith("wo.weight"))]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(
        {key: torch.full_like(value, float("nan")) for key, value in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def _small_vocabulary(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["shared.weight"] = weights["shared.weight"][:-9].contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    _edit_json("config.json", vocab_size=len(weights["shared.weight"]))(folder)


def _vision(folder: Path) -> None:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32)
    ViTModel(config).save_pretrained(folder)


def _plain_vision(folder: Path) -> None:
    shutil.rmtree(folder)
    _vision(folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shutil.rmtree, "no such folder"),
        (_remove("config.json"), "config.json"),
        (_cut("config.json"), "cannot load"),
        (_edit_json("config.json", model_type="nothing-known"), "cannot load"),
        (_edit_json("config.json", d_ff=48), "4 missing or of another shape"),
        (_remove("tokenizer.json"), "no tokenizer"),
        (_remove("tokenizer.json", "tokenizer_config.json"), "no tokenizer"),
        (_cut("tokenizer.json"), "no tokenizer that can be loaded"),
        (_remove("model.safetensors"), "no safetensors weights"),
        (_only_pickle, "no safetensors weights"),
        (_cut("model.safetensors"), "cannot load"),
        (_lose_a_tensor, r"1 missing or of another shape, the first .*wo\.weight"),
        (_not_finite, "not finite"),
        (_small_vocabulary, "do not belong together"),
        (_vision, "not a text encoder"),
        (_plain_vision, "no tokenizer"),
    ],
)
def test_damage_is_told_in_one_line(damage: Callable[[Path], None], says: str, copy: Path) -> None:
    damage(copy)
    with pytest.raises(EmbeddingError, match=says) as caught:
        load_encoder(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.hostile
def test_code_in_a_model_folder_is_not_run(copy: Path) -> None:
    (copy / "evil.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    for file, value in [
        ("config.json", {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Tokenizer", None]}),
    ]:
        _edit_json(file, auto_map=value)(copy)
    assert load_encoder(copy).width == 32
    assert not (copy / "ran").exists()


@pytest.mark.parametrize("name", ["", " ", "../x", "a/b/c", "what is this?", "~/no/such/folder", ".", "x" * 999])
def test_nonsense_names(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(EmbeddingError):
        load_encoder(name)
    assert time.monotonic() - started < 30  # of its own it takes half a second; a hub that is asked, minutes


@pytest.fixture
def hub(t5: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub on this machine with two models, and the list of what it was asked for."""
    shutil.copytree(t5, tmp_path / "hub/some/t5")
    (tmp_path / "hub/some/t5/flax_model.msgpack").write_bytes(b"another format")
    shutil.copytree(t5, tmp_path / "hub/some/pickle")
    _only_pickle(tmp_path / "hub/some/pickle")
    with serve_hub(tmp_path / "hub") as served:
        yield served


SCRIPT = """
import sys
from glyffctl.core.text import hub
from glyffctl.core.errors import EmbeddingError, UsageError
from glyffctl.core.text.loading import load_encoder

assert "transformers" not in sys.modules
hub._TIMEOUT = 0.5
for name in sys.argv[1:]:
    try:
        encoder = load_encoder(name)
        print(encoder.name, encoder.fingerprint, *encoder.encode(["gold"]).tokens.shape)
    except EmbeddingError as error:
        print(error)
"""


def _run(script: str, endpoint: str, home: Path, *names: str) -> list[str]:
    """The lines a fresh process prints; it must print nothing else, on stderr least of all."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", script, *names],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


@pytest.mark.thorough
def test_a_name_is_downloaded_once_and_quietly(hub: tuple[str, list[str]], t5: Path, tmp_path: Path) -> None:
    endpoint, asked = hub
    names = ["some/t5", "some/t5", "some/pickle", "some/nothing", "some/silence"]
    lines = _run(SCRIPT, endpoint, tmp_path / "home", *names)
    encoder: TextEncoder = load_encoder(t5)
    shape = " ".join(map(str, encoder.encode(["gold"]).tokens.shape))
    assert lines[0] == f"some/t5 {encoder.fingerprint} {shape}"
    assert lines[1] == lines[0]
    assert "no safetensors weights" in lines[2]
    assert "there is no model some/nothing" in lines[3]
    assert "hf download some/silence" in lines[4]
    assert len(lines) == len(names)
    weights = [path for path in asked if path.endswith("/model.safetensors")]
    assert 1 <= len(weights) <= 2  # HEAD and GET, once
    assert not [path for path in asked if "msgpack" in path or path.endswith(".bin")]

    # Without a hub: what was downloaded still loads, the rest fails at once.
    nowhere = "http://127.0.0.1:9"
    started = time.monotonic()
    lines = _run(SCRIPT, nowhere, tmp_path / "home", "some/t5", "google-t5/t5-small")
    assert lines[0] == f"some/t5 {encoder.fingerprint} {shape}"
    assert "hf download google-t5/t5-small --local-dir" in lines[1]
    assert time.monotonic() - started < 60


def test_the_encoder_in_the_box_is_what_transformers_makes_of_it() -> None:
    ours, theirs = load_encoder(BUNDLED), load_encoder(BUNDLED, with_transformers=True)
    assert (ours.fingerprint, ours.width) == (theirs.fingerprint, theirs.width)
    texts = ["lithium", "", "naïve 鋰 [U+92F0]", "x" * 300, "a kind of fish, the carp; " * 12]
    assert ours.tokenize(texts) == theirs.tokenize(texts)
    assert [ours.is_cut(text) for text in texts] == [theirs.is_cut(text) for text in texts] == [False] * 3 + [True] * 2
    a, b = ours.encode(texts), theirs.encode(texts)
    assert torch.equal(a.mask, b.mask)
    assert float((a.tokens - b.tokens).abs().max()) < 1e-5 * float(b.tokens.abs().max())
    with pytest.raises(EmbeddingError, match="at most 512 tokens"):
        load_encoder(BUNDLED, max_tokens=513)


def test_distances_share_buckets_as_in_transformers() -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    encoder = T5Encoder(pretrained("encoder"), "cpu")
    place = torch.arange(512)
    bucket = T5Attention._relative_position_bucket(place - place[:, None], num_buckets=32, max_distance=128)
    table = encoder._weights["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    assert torch.equal(encoder._bias(512)[0], table[bucket].permute(2, 0, 1))


@pytest.mark.parametrize("kind", ["bundled", "t5", "bert"])
@pytest.mark.parametrize(
    ("text", "parts", "whole"),
    [
        ("gold", (), False),
        ("Gold, WATER!", (), False),
        ("", (), False),
        ("火", ("火",), True),
        ("火 水, 火", ("火", "水"), True),
        ("вода", ("вода",), True),
        ("🔥", ("🔥",), True),
        ("火" * 300, None, True),  # cut in the midst of it
        ("gold 火", ("火",), False),
        ("to cut вода", ("вода",), False),
        ("gold " * 300 + "火", (), False),  # behind the cut nothing is read
    ],
)
def test_what_is_not_in_the_vocabulary(
    kind: str, text: str, parts: tuple[str, ...] | None, whole: bool, request: pytest.FixtureRequest
) -> None:
    encoder = load_encoder(BUNDLED if kind == "bundled" else request.getfixturevalue(kind))
    found = encoder.find_unknown(text)
    assert found.whole == whole
    if parts is not None:
        assert found.parts == parts
    assert bool(found) == (whole or bool(found.parts))
    if text and not found:
        assert encoder.all_known(encoder.tokenize([text])[0])
    if whole:
        assert not encoder.all_known(encoder.tokenize([text])[0])


def test_a_word_is_known_by_most_of_its_letters() -> None:
    encoder = load_encoder(BUNDLED)
    assert encoder.find_unknown("огонь") == (("огонь",), True)  # the soft sign alone is in the vocabulary
    assert encoder.find_unknown("gоld") == (("о",), False)  # a Cyrillic o
    assert encoder.find_unknown("dragon龙") == (("龙",), False)
    assert encoder.find_unknown("\u200b") == ((), True)  # nothing of it is left
    assert not encoder.find_unknown("—")


def test_what_is_spelled_in_bytes_is_known(t5: Path) -> None:
    """CLIP's tokenizer names its end mark as the unknown token; others have none."""
    from transformers import AutoTokenizer

    encoder = load_encoder(t5)
    for unknown in ("</s>", None):
        tokenizer = AutoTokenizer.from_pretrained(t5)
        tokenizer.unk_token = unknown
        assert isinstance(encoder, PretrainedEncoder)
        encoder._tokenizer = tokenizer
        assert not encoder.find_unknown("gold")


def test_a_tokenizer_that_tells_no_places_tells_words(t5: Path) -> None:
    from transformers import AutoTokenizer

    class Slow:
        is_fast = False

        def __init__(self) -> None:
            self.inside = AutoTokenizer.from_pretrained(t5)
            self.unk_token_id, self.all_special_ids = self.inside.unk_token_id, self.inside.all_special_ids
            self.convert_ids_to_tokens = self.inside.convert_ids_to_tokens

        def __call__(self, texts: list[str]) -> dict[str, list[list[int]]]:
            return {"input_ids": self.inside(texts)["input_ids"]}

    encoder = load_encoder(t5)
    assert isinstance(encoder, PretrainedEncoder)
    encoder._tokenizer = Slow()
    assert encoder.find_unknown("gold 火") == (("火",), False)
    assert encoder.find_unknown("火 水") == (("火", "水"), True)
    assert not encoder.find_unknown("gold water")

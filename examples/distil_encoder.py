"""Train the bundled text encoder: a small T5 encoder, distilled from a large sentence encoder.

    python examples/distil_encoder.py --teacher FOLDER --data data --glosses wordnet_glosses.tsv.gz --out encoder

Training data: all captions of a data folder and the words in them, and the lemmas and glosses of WordNet (a table of
comma-separated lemmas, TAB, gloss). The teacher is any encoder that `glyffctl embed` accepts, all-MiniLM-L6-v2 for
the bundled one. Its vectors are projected onto their leading principal directions, which nearly preserves their
cosines. The student learns

- word by word: the mean of its vectors over a word is the mean of the teacher's over the same word (the tokenizers
  split words differently, but agree on where words begin and end),
- the mean over the whole text, and the cosines between the texts of a batch,
- a little of what glyphs need: from a caption, the radicals of its characters. Held-out characters are not used.

`--meaning` shifts captions toward the meaning of their characters' radicals. Half an hour of that, starting from an
encoder trained without it (`--from`), is enough to bring rare words to their radical.

At the end the script prints metrics on held-out glosses, and saves a folder that transformers loads as a T5 encoder.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from glyffctl.core.data.captions import radical_name
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out

WORD = re.compile(r"\w+|[^\w\s]")
PLAIN_WORD = re.compile(r"\b[a-z]{3,}\b")
LONGEST = 64  # tokens
TEACHER_TOKENS, STUDENT_TOKENS = 4096, 1024  # in a batch
HELD_OUT_GLOSSES = 2000
RADICALS = 215


class Corpus(NamedTuple):
    """The texts to learn from, and the radicals of each caption."""

    texts: list[str]
    glosses: list[str]  # held out
    radicals: dict[int, Counter[int]]  # of the captions: row in texts → how often which radical
    rows: Tensor  # in texts: one epoch. Names and long terms are left out: they mean little to the teacher


class Tokens(NamedTuple):
    """Tokenized texts; token k belongs to word `word[k]` of its text, or to none (−1)."""

    ids: Tensor  # (T,) int64
    word: Tensor  # (T,) int64
    starts: Tensor  # (n + 1,) int64

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids, mask and word of the texts `rows`, each (B, L), padded to the longest."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        position = torch.arange(int(lengths.max()))
        mask = position < lengths[:, None]
        place = torch.where(mask, self.starts[rows, None] + position, 0)
        return self.ids[place] * mask, mask, torch.where(mask, self.word[place], -1)


class Target(NamedTuple):
    """The teacher's vectors, in the student's coordinates."""

    words: Tensor  # (W, D) float16; NaN where a word was truncated
    starts: Tensor  # (n + 1,) int64: the words of each text
    pooled: Tensor  # (n, D) float32: the mean over all its tokens


def read_texts(data: Path, glosses: Path, common: int, lemma_repeats: int) -> Corpus:
    """Load the corpus; an epoch repeats short captions `common` times more, and lemmas `lemma_repeats` times."""
    glyphs = open_glyphs(data)
    rows: dict[str, int] = {}
    radicals: dict[int, Counter[int]] = {}
    out = {int(c) for c in glyphs.character_of[held_out(glyphs, 0.05)]}
    for number, character in enumerate(glyphs.characters):
        for text in (character.definition, *character.alternate_captions):
            row = rows.setdefault(text, len(rows))
            if character.radical is not None and number not in out:
                radicals.setdefault(row, Counter())[character.radical] += 1
    with gzip.open(glosses, "rt", encoding="utf-8") as file:
        entries = [line.rstrip("\n").split("\t") for line in file]
    for text in list(rows):
        for word in PLAIN_WORD.findall(text):
            rows.setdefault(word, len(rows))
    all_glosses = [gloss for _, gloss in entries]
    order = np.random.default_rng(0).permutation(len(all_glosses))
    kept_out = {all_glosses[i] for i in order[:HELD_OUT_GLOSSES]}
    plain = list(range(len(rows)))
    # Prompts are mostly a word or two, like short captions, and those cost next to nothing.
    plain += common * [row for text, row in rows.items() if text.count(" ") < 2]
    for lemmas, gloss in entries:
        for text in (*lemmas.split(", "), gloss):
            if text and text not in kept_out and text not in rows:
                if text is gloss:
                    plain.append(len(rows))
                elif text.islower() and text.count(" ") < 2:
                    plain += lemma_repeats * [len(rows)]
                rows[text] = len(rows)
    return Corpus(list(rows), sorted(kept_out), radicals, torch.tensor(plain))


def make_tokenizer(texts: list[str], size: int) -> PreTrainedTokenizerFast:
    """Train a Unigram tokenizer, T5's kind, that ignores case and accents and never joins words or punctuation."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace()])
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        texts,
        trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tokens:
    """Tokenize texts, and find the word of each token by the position of its last letter."""
    ids: list[int] = []
    word: list[int] = []
    starts = [0]
    encoded = tokenizer(texts, truncation=True, max_length=LONGEST, return_offsets_mapping=True)
    for text, tokens, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        at = np.full(len(text), -1)
        for number, match in enumerate(WORD.finditer(text)):
            at[match.start() : match.end()] = number
        ids += tokens
        word += [int(at[end - 1]) if end > start else -1 for start, end in offsets]
        starts.append(len(ids))
    return Tokens(torch.tensor(ids), torch.tensor(word), torch.tensor(starts))


def batches(lengths: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return batches of rows in random order: texts of similar length together, about `size` tokens each."""
    jitter = lengths * (1 + 0.2 * torch.rand(len(lengths), generator=generator))
    order = jitter.argsort()
    found, start = [], 0
    while start < len(order):
        count = max(8, size // int(lengths[order[start : start + 512]].max()))
        found.append(order[start : start + count])
        start += count
    return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]


def word_means(hidden: Tensor, word: Tensor, rows: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the words of a batch as rows of the table that `starts` indexes, and their mean vectors (NaN: none)."""
    first = starts[rows]
    count = starts[rows + 1] - first
    here = count.cumsum(0) - count
    place = (here[:, None] + word)[word >= 0]
    total = torch.zeros(int(count.sum()), hidden.shape[-1]).index_add(0, place, hidden[word >= 0])
    number = torch.zeros(len(total)).index_add(0, place, torch.ones(len(place)))
    table = torch.cat([torch.arange(int(a), int(a + n)) for a, n in zip(first, count, strict=True)])
    return table, total / torch.where(number > 0, number, torch.nan)[:, None]


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over unmasked tokens, (B, D)."""
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@torch.inference_mode()
def encode_with_teacher(folder: Path, texts: list[str], width: int) -> Target:
    """Return the teacher's vectors of every word and text, in their `width` leading principal directions."""
    tokens = tokenize(AutoTokenizer.from_pretrained(folder), texts)
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
    words = [len(WORD.findall(text)) for text in texts]
    starts = torch.tensor([0, *words]).cumsum(0)
    lengths = tokens.starts.diff()
    plan = batches(lengths, TEACHER_TOKENS, torch.Generator().manual_seed(0))
    # The directions are those of the second moments, not of the covariance: cosines are taken from the origin.
    moments = torch.zeros(model.config.hidden_size, model.config.hidden_size, dtype=torch.float64)
    pieces = []
    for rows in plan[:150]:
        ids, mask, _ = tokens.batch(rows)
        hidden = model(ids, attention_mask=mask.long()).last_hidden_state.float()
        pieces.append(mean(hidden, mask))
    for piece in pieces:
        moments += (piece.T @ piece).double()
    values, vectors = torch.linalg.eigh(moments)
    turn = vectors.flip(1)[:, :width].float()
    print(f"{width} of {len(values)} directions hold {float(values.flip(0)[:width].sum() / values.sum()):.4f}")
    table = torch.full((int(starts[-1]), width), torch.nan, dtype=torch.float16)
    pooled = torch.zeros(len(texts), width)
    begun = time.monotonic()
    for number, rows in enumerate(plan):
        ids, mask, word = tokens.batch(rows)
        hidden = model(ids, attention_mask=mask.long()).last_hidden_state.float() @ turn
        place, vectors_of = word_means(hidden, word, rows, starts)
        table[place] = vectors_of.half()
        pooled[rows] = mean(hidden, mask)
        if number % 200 == 0:
            print(f"teacher: {number}/{len(plan)} batches, {time.monotonic() - begun:.0f} s", flush=True)
    scale = pooled.square().sum(1).mean().sqrt()  # texts of length about √D, as a norm at the end of T5 makes them
    scale = scale / math.sqrt(width)
    return Target((table.float() / scale).half(), starts, pooled / scale)


def load_target(options: argparse.Namespace, texts: list[str]) -> Target:
    """Load the teacher's vectors from `--answers` if that file is of the same texts; otherwise compute them."""
    digest = hashlib.sha256(json.dumps([str(options.teacher), options.width, texts]).encode()).hexdigest()
    if options.answers and options.answers.exists():
        with safe_open(options.answers, "pt") as file:
            if (file.metadata() or {}).get("question") == digest:
                return Target(*(file.get_tensor(name) for name in Target._fields))
    target = encode_with_teacher(options.teacher, texts, options.width)
    if options.answers:
        save_file(target._asdict(), options.answers, {"question": digest})
    return target


def shift_to_radicals(target: Target, corpus: Corpus, options: argparse.Namespace) -> Target:
    """Return `target` with captions shifted toward the meaning of their characters' radicals.

    A teacher of plain English puts "lithium" near minerals; its glyph needs metal. Captions of characters with many
    different radicals hardly move.
    """
    row_of = {text: row for row, text in enumerate(corpus.texts)}
    known = {r: row_of[radical_name(r)] for r in range(1, RADICALS) if radical_name(r) in row_of}
    mean = target.pooled[list(known.values())].mean(0)
    pooled, words = target.pooled.clone(), target.words.clone()
    for row, counts in corpus.radicals.items():
        directions = [(count, target.pooled[known[r]] - mean) for r, count in counts.items() if r in known]
        if directions:
            shift = options.meaning * sum(count * direction for count, direction in directions) / counts.total()
            pooled[row] += shift
            words[target.starts[row] : target.starts[row + 1]] += shift.half()
    return Target(words, target.starts, pooled)


def radical_shares(radicals: dict[int, Counter[int]], count: int) -> tuple[Tensor, Tensor]:
    """Return each text's row in the shares or −1, (count,), and each caption's shares of radicals, (R, 215)."""
    row_of = torch.full((count,), -1)
    row_of[torch.tensor(list(radicals))] = torch.arange(len(radicals))
    shares = torch.zeros(len(radicals), RADICALS)
    for row, counts in enumerate(radicals.values()):
        for radical, number in counts.items():
            shares[row, radical] = number
    return row_of, shares / shares.sum(1, keepdim=True)


@torch.no_grad()
def initialize(model: T5EncoderModel, tokens: Tokens, target: Target) -> None:
    """Initialize tokens with the mean of the teacher's vectors of the words they are part of, and scale layers down.

    The student then starts as an average of word vectors, which is most of the way, and learns the effect of context.
    """
    count = target.starts[: len(tokens.starts)]
    text = torch.repeat_interleave(torch.arange(len(tokens.starts) - 1), tokens.starts.diff())
    known = tokens.word >= 0
    vectors = target.words[(count[text] + tokens.word)[known]].float()
    ids = tokens.ids[known][~vectors.isnan().any(1)]
    vectors = vectors[~vectors.isnan().any(1)]
    table = model.shared.weight
    total = torch.zeros_like(table).index_add(0, ids, vectors)
    number = torch.zeros(len(table)).index_add(0, ids, torch.ones(len(ids)))
    table[:] = torch.where(number[:, None] > 0, total / number.clamp(min=1)[:, None], vectors.mean(0))
    for block in model.encoder.block:
        block.layer[0].SelfAttention.o.weight *= 0.1
        block.layer[1].DenseReluDense.wo.weight *= 0.1
    model.encoder.final_layer_norm.weight[:] = vectors.square().mean().sqrt()


def train(model: T5EncoderModel, tokens: Tokens, target: Target, corpus: Corpus, options: argparse.Namespace) -> None:
    """Train `model` in place for `--minutes`; the learning rate falls to 0 at their end."""
    head = nn.Linear(model.config.d_model, RADICALS)
    parameters = [*model.parameters(), *head.parameters()]
    matrices = [p for p in model.encoder.block.parameters() if p.ndim == 2 and min(p.shape) >= options.width]
    chosen = set(matrices)
    rest = [p for p in parameters if p not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    ]
    row_of, shares = radical_shares(corpus.radicals, len(corpus.texts))
    generator = torch.Generator().manual_seed(1)
    lengths = tokens.starts.diff()
    begun, sums = time.monotonic(), np.zeros(4)
    for step, rows in enumerate(endless(corpus.rows, lengths, generator), start=1):
        progress = (time.monotonic() - begun) / (60 * options.minutes)
        if progress >= 1:
            break
        rate = options.rate * min(1, step / 500) * (1 + math.cos(math.pi * progress)) / 2
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
        ids, mask, word = tokens.batch(rows)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        hidden = hidden.float()
        place, vectors = word_means(hidden, word, rows, target.starts)
        wanted = target.words[place].float()
        there = ~(vectors.isnan().any(1) | wanted.isnan().any(1))
        by_word = F.mse_loss(vectors[there], wanted[there])
        pooled, goal = mean(hidden, mask), target.pooled[rows]
        by_text = F.mse_loss(pooled, goal) + (1 - F.cosine_similarity(pooled, goal)).mean()
        a, b = F.normalize(pooled, dim=1), F.normalize(goal, dim=1)
        by_pair = F.mse_loss(a @ a.T, b @ b.T)
        row = row_of[rows]
        by_radical = torch.zeros(())
        if options.radicals and (row >= 0).any():
            by_radical = F.cross_entropy(head(pooled[row >= 0]), shares[row[row >= 0]], label_smoothing=0.1)
        loss = by_word / 2 + 2 * by_text + options.pairs * by_pair + options.radicals * by_radical
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        sums += [float(by_word.detach()), float(by_text.detach()), float(by_pair.detach()), float(by_radical.detach())]
        if step % 500 == 0:
            shown = ", ".join(f"{x:.4f}" for x in sums / 500)
            print(f"step {step}, {progress:.1%}: word, text, pair, radical: {shown}", flush=True)
            sums[:] = 0


def endless(rows: Tensor, lengths: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the `batches` of `rows`, epoch after epoch."""
    while True:
        for batch in batches(lengths[rows], STUDENT_TOKENS, generator):
            yield rows[batch]


def align(target: Target, model: T5EncoderModel, tokens: Tokens) -> Target:
    """Rotate `target` to the coordinates that `model` has learned: the sign of a principal direction is arbitrary.

    The rotation is the orthogonal matrix that brings `target` nearest to the model's vectors of the same texts
    (orthogonal Procrustes, Schönemann 1966).
    """
    rows = torch.arange(0, len(target.pooled), 20)
    left, _, right = torch.linalg.svd(target.pooled[rows].T @ encode(model, tokens, rows))
    turn = left @ right
    return Target((target.words.float() @ turn).half(), target.starts, target.pooled @ turn)


@torch.inference_mode()
def encode(model: T5EncoderModel, tokens: Tokens, rows: Tensor) -> Tensor:
    """Return the mean vector of each of these texts, (len(rows), D)."""
    model.eval()
    pooled = torch.zeros(len(rows), model.config.d_model)
    for batch in batches(tokens.starts.diff()[rows], TEACHER_TOKENS, torch.Generator().manual_seed(0)):
        ids, mask, _ = tokens.batch(rows[batch])
        pooled[batch] = mean(model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)
    return pooled


def spearman(a: Tensor, b: Tensor) -> float:
    """Return the rank correlation of the pairwise cosines of the rows of `a` with those of `b`."""
    upper = torch.triu_indices(len(a), len(a), 1)

    def ranks(x: Tensor) -> Tensor:
        cosines = F.normalize(x, dim=1) @ F.normalize(x, dim=1).T
        return cosines[upper[0], upper[1]].argsort().argsort().double()

    return float(torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1])


def report(model: T5EncoderModel, tokens: Tokens, target: Target, corpus: Corpus) -> None:
    """Print how well `model` agrees with the teacher on held-out glosses."""
    new = torch.arange(len(corpus.texts), len(corpus.texts) + len(corpus.glosses))
    pooled, goal = encode(model, tokens, new), target.pooled[new]
    cosine = float(F.cosine_similarity(pooled, goal).mean())
    print(json.dumps({"spearman": spearman(pooled, goal), "cosine": cosine}), flush=True)


def neighbors(model: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, tokens: Tokens, corpus: Corpus) -> None:
    """Print the short captions nearest to some words."""
    short = torch.tensor([row for row in corpus.radicals if len(corpus.texts[row].split()) <= 2])
    bank = F.normalize(encode(model, tokens, short), dim=1)
    for word in ("lithium", "gold", "sparrow", "to weep", "robot", "thunderstorm"):
        query = F.normalize(encode(model, tokenize(tokenizer, [word]), torch.tensor([0])), dim=1)
        near = (bank @ query[0]).argsort(descending=True)[:9]
        print(f"{word}: {'; '.join(corpus.texts[int(short[i])] for i in near)}")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the encoder to imitate")
    parser.add_argument("--data", type=Path, required=True, help="data folder of `glyffctl prepare`")
    parser.add_argument("--glosses", type=Path, required=True, help="lemmas<TAB>gloss, gzip")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--answers", type=Path, help="file that caches the teacher's vectors for later runs")
    parser.add_argument("--minutes", type=float, default=30.0, help="training time")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
    parser.add_argument("--from", dest="start", type=Path, help="folder of an encoder to continue from")
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--pairs", type=float, default=100.0, help="weight of the loss on cosines between texts")
    parser.add_argument(
        "--meaning", type=float, default=0.0, help="how far to shift captions toward their radicals' meaning"
    )
    parser.add_argument("--common", type=int, default=5, help="how many times more a short caption is used")
    parser.add_argument("--lemmas", type=int, default=2, help="how many times per epoch a lemma of WordNet is used")
    parser.add_argument("--radicals", type=float, default=0.05, help="weight of the loss on radicals")
    options = parser.parse_args()

    torch.manual_seed(0)
    corpus = read_texts(options.data, options.glosses, options.common, options.lemmas)
    captions, kept_out = len(corpus.radicals), len(corpus.glosses)
    print(f"{len(corpus.texts):,} texts, {captions:,} of them captions; {kept_out:,} glosses held out")
    tokenizer = (
        AutoTokenizer.from_pretrained(options.start)
        if options.start
        else make_tokenizer(corpus.texts, options.vocabulary)
    )
    everything = corpus.texts + corpus.glosses
    target = load_target(options, everything)
    tokens = tokenize(tokenizer, everything)
    print(f"{len(tokens.ids) / len(everything):.1f} tokens a text")
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=options.width,
        d_kv=64,
        num_heads=options.width // 64,
        d_ff=3 * options.width,
        num_layers=options.layers,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    model = T5EncoderModel.from_pretrained(options.start).float() if options.start else T5EncoderModel(config)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"student: {size:,} parameters, {2 * size / 1e6:.1f} MB", flush=True)
    trained = Tokens(tokens.ids, tokens.word, tokens.starts[: len(corpus.texts) + 1])
    if options.start:
        target = align(target, model, tokens)
    else:
        initialize(model, tokens, target)
    report(model, tokens, target, corpus)
    train(model, trained, shift_to_radicals(target, corpus, options) if options.meaning else target, corpus, options)
    model.half().save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)

    report(model.float(), tokens, target, corpus)  # of the weights as saved, in 16 bits
    neighbors(model, tokenizer, tokens, corpus)


if __name__ == "__main__":
    main()

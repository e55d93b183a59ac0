"""Make the text encoder that comes with glyffctl: a small T5 encoder that imitates a large sentence encoder.

    python examples/distil_encoder.py --teacher FOLDER --data data --glosses wordnet_glosses.tsv.gz --out encoder

What it learns from: all captions of a data folder and the words in them, and the lemmas and glosses of WordNet (a table
of comma-separated lemmas, TAB, gloss). The teacher is any that `glyffctl embed` takes; ours was all-MiniLM-L6-v2.
Its vectors are turned into their leading principal directions, which keeps their cosines nearly as they are, and the
student learns

- word by word: the mean of its vectors over a word is the mean of the teacher's over the same word (their
  tokenizers cut words differently, and agree on where words begin and end),
- the mean over the whole text, and the cosines between the texts of a batch,
- a little of what glyphs need: from a caption, the radicals of its characters. Held-out characters tell it nothing.

With `--meaning`, captions move toward what the radicals of their characters mean: half an hour of that is enough to
bring rare words to their radical, and goes on from an encoder made without (`--from`).

It ends with what it measured on glosses it never saw, and saves a folder that transformers opens as any T5 encoder.
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


class Texts(NamedTuple):
    """What to learn from, and what each text says about radicals."""

    texts: list[str]
    glosses: list[str]  # held out
    radicals: dict[int, Counter[int]]  # of the captions: row in texts → how often which radical
    rows: Tensor  # in texts: an epoch. Names and terms of many words mean little to the teacher either


class Cut(NamedTuple):
    """Texts cut into tokens; token k belongs to word `word[k]` of its text, or to none (−1)."""

    ids: Tensor  # (T,) int64
    word: Tensor  # (T,) int64
    starts: Tensor  # (n + 1,) int64

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ids, mask and word of the texts `rows`, each (B, L), padded to the longest."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        position = torch.arange(int(lengths.max()))
        mask = position < lengths[:, None]
        place = torch.where(mask, self.starts[rows, None] + position, 0)
        return self.ids[place] * mask, mask, torch.where(mask, self.word[place], -1)


class Target(NamedTuple):
    """What the teacher says, in the student's coordinates."""

    words: Tensor  # (W, D) float16; NaN where a word was cut off
    starts: Tensor  # (n + 1,) int64: the words of each text
    pooled: Tensor  # (n, D) float32: the mean over all its tokens


def read_texts(data: Path, glosses: Path, common: int, lemmas_too: int) -> Texts:
    """Captions, lemmas and glosses; short texts of glyphs come `common` times an epoch, lemmas `lemmas_too`."""
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
    told = [gloss for _, gloss in entries]
    order = np.random.default_rng(0).permutation(len(told))
    kept_out = {told[i] for i in order[:HELD_OUT_GLOSSES]}
    plain = list(range(len(rows)))
    # What people type is mostly a word or two of what glyphs are called, and costs next to nothing.
    plain += common * [row for text, row in rows.items() if text.count(" ") < 2]
    for lemmas, gloss in entries:
        for text in (*lemmas.split(", "), gloss):
            if text and text not in kept_out and text not in rows:
                if text is gloss:
                    plain.append(len(rows))
                elif text.islower() and text.count(" ") < 2:
                    plain += lemmas_too * [len(rows)]
                rows[text] = len(rows)
    return Texts(list(rows), sorted(kept_out), radicals, torch.tensor(plain))


def make_tokenizer(texts: list[str], size: int) -> PreTrainedTokenizerFast:
    """A Unigram tokenizer, T5's kind, that ignores case and accents and never joins words or punctuation."""
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


def cut(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Cut:
    """Cut texts into tokens, and find the word of each by the place of its last letter."""
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
    return Cut(torch.tensor(ids), torch.tensor(word), torch.tensor(starts))


def batches(lengths: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Rows in random order, texts of about the same length together, about `size` tokens in a batch."""
    jitter = lengths * (1 + 0.2 * torch.rand(len(lengths), generator=generator))
    order = jitter.argsort()
    found, start = [], 0
    while start < len(order):
        count = max(8, size // int(lengths[order[start : start + 512]].max()))
        found.append(order[start : start + count])
        start += count
    return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]


def word_means(hidden: Tensor, word: Tensor, rows: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """The words of a batch as rows of the table that `starts` counts, and the mean vector of each (NaN: no token)."""
    first = starts[rows]
    count = starts[rows + 1] - first
    here = count.cumsum(0) - count
    place = (here[:, None] + word)[word >= 0]
    total = torch.zeros(int(count.sum()), hidden.shape[-1]).index_add(0, place, hidden[word >= 0])
    number = torch.zeros(len(total)).index_add(0, place, torch.ones(len(place)))
    table = torch.cat([torch.arange(int(a), int(a + n)) for a, n in zip(first, count, strict=True)])
    return table, total / torch.where(number > 0, number, torch.nan)[:, None]


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """(B, D): over the tokens that are there."""
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@torch.inference_mode()
def ask_teacher(folder: Path, texts: list[str], width: int) -> Target:
    """The teacher's vectors of every word and text, in their `width` leading principal directions."""
    tokens = cut(AutoTokenizer.from_pretrained(folder), texts)
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


def remembered(given: argparse.Namespace, texts: list[str]) -> Target:
    """The teacher's answers, from the file of an earlier run if it had the same question."""
    question = hashlib.sha256(json.dumps([str(given.teacher), given.width, texts]).encode()).hexdigest()
    if given.answers and given.answers.exists():
        with safe_open(given.answers, "pt") as file:
            if (file.metadata() or {}).get("question") == question:
                return Target(*(file.get_tensor(name) for name in Target._fields))
    target = ask_teacher(given.teacher, texts, given.width)
    if given.answers:
        save_file(target._asdict(), given.answers, {"question": question})
    return target


def informed(target: Target, said: Texts, given: argparse.Namespace) -> Target:
    """The same answers, those about captions moved toward what the radicals of their characters mean.

    A teacher of plain English puts "lithium" beside minerals; whoever draws it has to think of metal. Captions of
    characters with many different radicals hardly move.
    """
    row_of = {text: row for row, text in enumerate(said.texts)}
    known = {r: row_of[radical_name(r)] for r in range(1, RADICALS) if radical_name(r) in row_of}
    mean = target.pooled[list(known.values())].mean(0)
    pooled, words = target.pooled.clone(), target.words.clone()
    for row, counts in said.radicals.items():
        told = [(count, target.pooled[known[r]] - mean) for r, count in counts.items() if r in known]
        if told:
            shift = given.meaning * sum(count * way for count, way in told) / counts.total()
            pooled[row] += shift
            words[target.starts[row] : target.starts[row + 1]] += shift.half()
    return Target(words, target.starts, pooled)


def radical_shares(radicals: dict[int, Counter[int]], count: int) -> tuple[Tensor, Tensor]:
    """(count,) row in the shares or −1, and (R, 215) the share of each radical among a caption's characters."""
    row_of = torch.full((count,), -1)
    row_of[torch.tensor(list(radicals))] = torch.arange(len(radicals))
    shares = torch.zeros(len(radicals), RADICALS)
    for row, counts in enumerate(radicals.values()):
        for radical, number in counts.items():
            shares[row, radical] = number
    return row_of, shares / shares.sum(1, keepdim=True)


@torch.no_grad()
def start(model: T5EncoderModel, tokens: Cut, target: Target) -> None:
    """Let every token begin as the mean of what the teacher says of the words it is part of, and layers add little.

    The student then begins as an average of word vectors, which is most of the way, and learns what context changes.
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


def learn(model: T5EncoderModel, tokens: Cut, target: Target, said: Texts, given: argparse.Namespace) -> None:
    """Train `model` in place for the given minutes; the learning rate falls to nothing at their end."""
    head = nn.Linear(model.config.d_model, RADICALS)
    parameters = [*model.parameters(), *head.parameters()]
    matrices = [p for p in model.encoder.block.parameters() if p.ndim == 2 and min(p.shape) >= given.width]
    chosen = set(matrices)
    rest = [p for p in parameters if p not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    ]
    row_of, shares = radical_shares(said.radicals, len(said.texts))
    generator = torch.Generator().manual_seed(1)
    lengths = tokens.starts.diff()
    begun, sums = time.monotonic(), np.zeros(4)
    for step, rows in enumerate(endless(said.rows, lengths, generator), start=1):
        progress = (time.monotonic() - begun) / (60 * given.minutes)
        if progress >= 1:
            break
        rate = given.rate * min(1, step / 500) * (1 + math.cos(math.pi * progress)) / 2
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
        told = row_of[rows]
        by_radical = torch.zeros(())
        if given.radicals and (told >= 0).any():
            by_radical = F.cross_entropy(head(pooled[told >= 0]), shares[told[told >= 0]], label_smoothing=0.1)
        loss = by_word / 2 + 2 * by_text + given.pairs * by_pair + given.radicals * by_radical
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
    """Epoch after epoch of `batches` of `rows`."""
    while True:
        for batch in batches(lengths[rows], STUDENT_TOKENS, generator):
            yield rows[batch]


def turned(target: Target, model: T5EncoderModel, tokens: Cut) -> Target:
    """The same answers in the coordinates that `model` has learned: principal directions have no sign of their own.

    The orthogonal matrix that brings them nearest to what the model says of the same texts (Schönemann 1966).
    """
    rows = torch.arange(0, len(target.pooled), 20)
    left, _, right = torch.linalg.svd(target.pooled[rows].T @ encode(model, tokens, rows))
    turn = left @ right
    return Target((target.words.float() @ turn).half(), target.starts, target.pooled @ turn)


@torch.inference_mode()
def encode(model: T5EncoderModel, tokens: Cut, rows: Tensor) -> Tensor:
    """(len(rows), D) the mean vector of each of these texts."""
    model.eval()
    pooled = torch.zeros(len(rows), model.config.d_model)
    for batch in batches(tokens.starts.diff()[rows], TEACHER_TOKENS, torch.Generator().manual_seed(0)):
        ids, mask, _ = tokens.batch(rows[batch])
        pooled[batch] = mean(model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)
    return pooled


def spearman(a: Tensor, b: Tensor) -> float:
    """The rank correlation of the pairwise cosines of the rows of `a` with those of `b`."""
    upper = torch.triu_indices(len(a), len(a), 1)

    def ranks(x: Tensor) -> Tensor:
        cosines = F.normalize(x, dim=1) @ F.normalize(x, dim=1).T
        return cosines[upper[0], upper[1]].argsort().argsort().double()

    return float(torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1])


def report(model: T5EncoderModel, tokens: Cut, target: Target, said: Texts) -> None:
    """Print what `model` knows of glosses it never saw."""
    new = torch.arange(len(said.texts), len(said.texts) + len(said.glosses))
    pooled, goal = encode(model, tokens, new), target.pooled[new]
    cosine = float(F.cosine_similarity(pooled, goal).mean())
    print(json.dumps({"spearman": spearman(pooled, goal), "cosine": cosine}), flush=True)


def neighbors(model: T5EncoderModel, tokenizer: PreTrainedTokenizerFast, tokens: Cut, said: Texts) -> None:
    """Print the short captions that are nearest to some words."""
    short = torch.tensor([row for row in said.radicals if len(said.texts[row].split()) <= 2])
    bank = F.normalize(encode(model, tokens, short), dim=1)
    for word in ("lithium", "gold", "sparrow", "to weep", "robot", "thunderstorm"):
        query = F.normalize(encode(model, cut(tokenizer, [word]), torch.tensor([0])), dim=1)
        near = (bank @ query[0]).argsort(descending=True)[:9]
        print(f"{word}: {'; '.join(said.texts[int(short[i])] for i in near)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--teacher", type=Path, required=True, help="folder of the encoder to imitate")
    parser.add_argument("--data", type=Path, required=True, help="data folder of `glyffctl prepare`")
    parser.add_argument("--glosses", type=Path, required=True, help="lemmas<TAB>gloss, gzip")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--answers", type=Path, help="file to keep the teacher's answers in, for another run")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="the highest learning rate")
    parser.add_argument("--from", dest="start", type=Path, help="folder of an encoder made before, to go on with")
    parser.add_argument("--vocabulary", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--pairs", type=float, default=100.0, help="weight of the loss of cosines between texts")
    parser.add_argument(
        "--meaning", type=float, default=0.0, help="how far captions move toward their radicals' meaning"
    )
    parser.add_argument("--common", type=int, default=5, help="how often more than a gloss short texts of glyphs come")
    parser.add_argument("--lemmas", type=int, default=2, help="how often the lemmas of WordNet come")
    parser.add_argument("--radicals", type=float, default=0.05, help="weight of the loss of radicals")
    given = parser.parse_args()

    torch.manual_seed(0)
    said = read_texts(given.data, given.glosses, given.common, given.lemmas)
    print(f"{len(said.texts):,} texts, {len(said.radicals):,} of them captions; {len(said.glosses):,} glosses held out")
    tokenizer = (
        AutoTokenizer.from_pretrained(given.start) if given.start else make_tokenizer(said.texts, given.vocabulary)
    )
    everything = said.texts + said.glosses
    target = remembered(given, everything)
    tokens = cut(tokenizer, everything)
    print(f"{len(tokens.ids) / len(everything):.1f} tokens a text")
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=given.width,
        d_kv=64,
        num_heads=given.width // 64,
        d_ff=3 * given.width,
        num_layers=given.layers,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    model = T5EncoderModel.from_pretrained(given.start).float() if given.start else T5EncoderModel(config)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"student: {size:,} parameters, {2 * size / 1e6:.1f} MB", flush=True)
    trained = Cut(tokens.ids, tokens.word, tokens.starts[: len(said.texts) + 1])
    if given.start:
        target = turned(target, model, tokens)
    else:
        start(model, tokens, target)
    report(model, tokens, target, said)
    learn(model, trained, informed(target, said, given) if given.meaning else target, said, given)
    model.half().save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)

    report(model.float(), tokens, target, said)  # what was rounded to 16 bits is what is measured
    neighbors(model, tokenizer, tokens, said)


if __name__ == "__main__":
    main()

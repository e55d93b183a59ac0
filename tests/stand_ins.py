"""Small stand-ins: text encoders of the real architectures with random weights, and a hub on this machine."""

from __future__ import annotations

import functools
import http.server
import json
import string
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

DEFINITIONS = [
    "lithium (element 3, Li)",
    "gold; money",
    "small swan",
    "river, stream; water",
    "a kind of metal; a bell used in ancient times",
    "to cut, to carve; a knife",
    "fish",
    "an old name for a district in present-day Henan province",
]


def make_t5(folder: Path, width: int = 32) -> Path:
    """Write a T5 encoder of two layers with a Unigram tokenizer; return its folder."""
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=special,
        unk_token="<unk>",
        initial_alphabet=list(string.printable),
        show_progress=False,
    )
    tokenizer.train_from_iterator(DEFINITIONS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = T5Config(vocab_size=len(fast), d_model=width, d_kv=8, d_ff=2 * width, num_layers=2, num_heads=4)
        T5EncoderModel(config).save_pretrained(folder)
    return folder


def make_bert(folder: Path, width: int = 32) -> Path:
    """Write a BERT of two layers with a WordPiece tokenizer; return its folder."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=200,
        special_tokens=special,
        initial_alphabet=list(string.printable),
        show_progress=False,
    )
    tokenizer.train_from_iterator(DEFINITIONS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(fast),
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * width,
            max_position_embeddings=80,
        )
        BertModel(config).save_pretrained(folder)
    return folder


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download needs: what a model's files are, and the files."""

    COMMIT = "0123456789abcdef0123456789abcdef01234567"
    asked: list[str]

    def __init__(self, root: Path, asked: list[str], *args: object) -> None:
        self.root, self.asked = root, asked
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if path.startswith("/api/models/"):
            name, _, tree = path.removeprefix("/api/models/").partition("/tree/")
            name = name.removesuffix("/revision/main")
            if name == "some/silence":
                time.sleep(1.5)
            folder = self.root / name
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            names = [file.relative_to(folder).as_posix() for file in files]
            if not files:
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif tree:
                rows = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": name.replace("/", "-")}
                    for name, file in zip(names, files, strict=True)
                ]
                self.answer(200, json.dumps(rows).encode())
            else:
                siblings = [{"rfilename": name} for name in names]
                info = {"id": name, "modelId": name, "sha": self.COMMIT, "siblings": siblings}
                self.answer(200, json.dumps(info).encode())
        else:
            name, _, file_name = path[1:].partition(f"/resolve/{self.COMMIT}/")
            file = self.root / name / file_name
            if not file.is_file():
                self.answer(404, b"")
                return
            data = file.read_bytes()
            etag = file_name.replace("/", "-")
            self.answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": self.COMMIT})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
        except BrokenPipeError:
            pass  # who asked has gone

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve_hub(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the folders root/OWNER/NAME as models of a hub: its address, and the list of what it was asked for."""
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Hub, root, asked))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()

"""Encode the lines of a file with a transformers encoder, in batches as they come: ENCODER TEXTS OUT."""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, T5EncoderModel

BATCH = 64

encoder, texts, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(encoder)
model = T5EncoderModel.from_pretrained(encoder, dtype=torch.float32).eval()
lines = Path(texts).read_text(encoding="utf-8").splitlines()
parts = []
with torch.no_grad():
    for start in range(0, len(lines), BATCH):
        batch = tokenizer(
            lines[start : start + BATCH], padding=True, truncation=True, max_length=64, return_tensors="pt"
        )
        hidden = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        for row, mask in zip(hidden, batch.attention_mask, strict=True):
            parts.append(row[mask.bool()].half().numpy())
np.save(out, np.concatenate(parts))

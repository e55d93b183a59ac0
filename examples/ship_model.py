"""Write the model of a run folder in 16 bits, as glyffctl bundles it: ship_model.py RUN FILE."""

import sys
from pathlib import Path

import torch

from glyffctl.core.models.checkpoint import load_model, save_model

run, file = map(Path, sys.argv[1:])
model = load_model(run)
save_model(file, model, torch.float16)
print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, trained on {model.images:,} pictures")

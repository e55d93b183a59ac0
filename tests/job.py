"""One process of a job that test_processes.py starts: 20 steps in float64, and what each process saw and ended with."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.errors import ModelError
from glyffctl.core.io.tensors import load_tensors, save_tensors
from glyffctl.core.models.config import fit_to_data, merge, read_preset, read_toml
from glyffctl.core.training.distributed import process_group, process_info
from glyffctl.core.training.objective import Batch
from glyffctl.core.training.trainer import Trainer


def main(data: Path, toml: Path, out: Path, first: Path | None) -> None:
    torch.set_num_threads(1)
    glyphs = open_glyphs(data)
    cached = load_embeddings(data, glyphs.captions)
    config = fit_to_data(merge(read_preset("cpu"), read_toml(toml)), glyphs.size, cached.width)
    config = replace(config, training=replace(config.training, optimizer="adamw", batch=10))
    where, device = process_info(), torch.device("cpu")
    seen: list[int] = []
    with process_group(where, device) as group:
        trainer = Trainer(config, glyphs, cached, device, group, torch.float64)
        if first is not None:
            tensors, counters = load_tensors(first, "job", ModelError)
            trainer.restore(tensors, counters)
        draw = trainer.objective.batch

        def noted(number: torch.Tensor) -> Batch:
            seen.extend(number.tolist())
            return draw(number)

        trainer.objective.batch = noted  # type: ignore[method-assign]
        losses = [float(group.all_reduce_mean(trainer.step(step / 40).loss)) for step in range(20)]
        tensors, counters = trainer.state()
        save_tensors(out / f"{group.rank}.safetensors", "job", tensors, {**counters, "seen": seen, "losses": losses})


if __name__ == "__main__":
    data, toml, out, *first = map(Path, sys.argv[1:])
    main(data, toml, out, first[0] if first else None)

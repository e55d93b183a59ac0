"""`glyffctl train`: from captioned glyphs to a run folder with a model in it."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from glyffctl.core.data import embeddings
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU, choose_device
from glyffctl.core.errors import GlyffError, Interrupted, TrainingError, UsageError
from glyffctl.core.io.bundled import BUNDLED, model_path
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import EncoderInfo, Origin, TrainedModel
from glyffctl.core.models.config import DECIDED, as_dict, fit_to_data, merge, parse, read_preset, read_toml
from glyffctl.core.networks.network import NetworkConfig, kind_of, parameter_count
from glyffctl.core.training.distributed import ProcessGroup, ProcessInfo, in_job, process_group, process_info
from glyffctl.core.training.trainer import Trainer, check_memory
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import Caution, Event, Note, finish
from glyffctl.workflows.preflight import preflight
from glyffctl.workflows.run import Run
from glyffctl.workflows.run_folder import alone_in, check_folder

WORKER_ERROR_DELAY = (
    5.0  # seconds before a process other than the first complains: it may be about to say the same, and be heard
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `train` is asked to do.

    Attributes:
        gpus: 0 trains on the CPU, 1 on a GPU, or on the CPU where there is none; more only in as many processes.
        device: another device for the only process, see `core.device.choose_device`.
        preset: a name from `config.preset_names`; None is "gpu" on a GPU and "cpu" without.
        config: a TOML file laid over the preset.
        overrides: settings of the section [training] laid over both.
        out: the run folder; None is runs/PRESET.
        encoder: captions that are not embedded with it yet are embedded first; None takes those
            that are there, or makes them with the bundled encoder.
        start: a model, or bundled, whose weights a new run starts from, and whose network it takes; None starts from
            nothing.
    """

    data: Path = Path("data")
    out: Path | None = None
    gpus: int = 1
    device: str = "auto"
    preset: str | None = None
    config: Path | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    encoder: str | None = None
    start: Path | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class TrainReport:
    """What came of it."""

    out: Path
    parameters: int
    images: int
    epochs: float
    seconds: float
    validation: dict[float, float]


def train(options: TrainOptions) -> Generator[Event, None, TrainReport | None]:
    """Train, or go on with a run that was stopped. See `TrainOptions`.

    Started by torchrun or srun, this is one process of a job. The first of them reads the settings and the run folder
    and writes into it; the others need the data only. They tell nothing, and return None.

    Raises:
        GlyffError: the data, the embeddings, the settings or the run folder cannot be used.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    where = process_info()
    device = _device(options, where)
    with process_group(where, device) as group:
        if group.is_main:
            return (yield from _run_main(options, device, group))
        try:
            finish(_run_worker(options, device, group))
        except Interrupted:
            pass  # the first process tells of it
        except GlyffError:
            time.sleep(WORKER_ERROR_DELAY)
            raise
        return None


def _run_main(options: TrainOptions, device: torch.device, group: ProcessGroup) -> Generator[Event, None, TrainReport]:
    if options.gpus and options.device == "auto" and device.type == "cpu":
        yield Caution("no GPU was found: training on the CPU (--gpus 0 says so without this line)")
    preset, sections = _settings(options, device)
    start = _start(options, sections)
    parse(sections)  # complain about settings before minutes are spent on embedding
    group.broadcast(sections)

    glyphs = open_glyphs(options.data, sections["codec"].get("size"))
    # The text encoder decides the width later; any will do to complain about sizes before minutes are spent on it.
    config = fit_to_data(sections, glyphs.size, sections["network"].get("text_width", NetworkConfig.text_width))
    if device.type == "cpu":
        check_memory(config, group.size)
    if options.encoder is not None or not (options.data / embeddings.FILE_NAME).exists():
        yield from embed(EmbedOptions(options.data, options.encoder or BUNDLED, device=str(device)))
    group.barrier()
    cached = embeddings.load_embeddings(options.data, glyphs.captions)
    if start is not None and start.text_width != cached.width:
        raise TrainingError(
            f"the model at {options.start} reads text through {start.origin.encoder.name}, the captions are embedded "
            f"with {cached.encoder}, whose vectors have another width; run `glyffctl embed --data {options.data} "
            f"--encoder {start.origin.encoder.name}`"
        )
    out = options.out or Path("runs") / preset
    if start is not None and options.start is not None and _same_run(out, options.start):
        raise TrainingError(f"{out} is the run to start from; name another folder for the new one with --out")
    check_folder(out)
    with alone_in(out):
        run = _run(sections, glyphs, cached, device, group, out, tensorboard=options.tensorboard)
        trainer, origin = run.trainer, run.origin
        parameters = parameter_count(trainer.network)
        yield Note(
            f"{parameters / 1e6:.1f} M parameters, {trainer.epoch_size:,} glyphs "
            f"(+{len(glyphs) - trainer.epoch_size:,} held out), {glyphs.size}×{glyphs.size}, "
            f"{preset} preset on {_device_name(device, group)}, into {out}"
        )
        if run.resume():
            yield Note(f"going on from {trainer.images:,} pictures")
        else:
            if start is not None:
                trainer.start_from(start.network, start.images, start.epochs)
                yield Note(f"starting from the weights of {options.start}, trained on {start.images:,} pictures")
                if start.origin.encoder.fingerprint != origin.encoder.fingerprint:
                    yield Caution(
                        f"{options.start} has read text through another encoder than the captions are embedded with; "
                        "it has to get used to the new one"
                    )
            yield from preflight(trainer)
        run.broadcast_state()
        yield from run.run()
        return TrainReport(
            out, parameters, trainer.images, trainer.images / trainer.epoch_size, run.seconds, run.validation
        )


def _same_run(out: Path, start: Path) -> bool:
    """Whether the model `start` is the one that a run in `out` writes."""
    model = model_path(start)
    file = model / checkpoint.MODEL_FILE if model.is_dir() else model
    return file.resolve() == (out / checkpoint.MODEL_FILE).resolve()


def _start(options: TrainOptions, sections: dict[str, dict[str, Any]]) -> TrainedModel | None:
    """The model that a new run starts from, its network and codec put into `sections`."""
    if options.start is None:
        return None
    model = checkpoint.load_model(model_path(options.start))
    kind = kind_of(model.origin.config.network)
    if sections["network"].get("kind", kind) != kind:
        raise UsageError(
            f"{options.start} has a network of the kind {kind}, the settings ask for {sections['network']['kind']}; "
            "leave one of them out"
        )
    sections["network"] = as_dict(model.origin.config)["network"]
    sections["codec"] = as_dict(model.origin.config)["codec"]
    return model


def _run_worker(options: TrainOptions, device: torch.device, group: ProcessGroup) -> Generator[Event, None, None]:
    """What all processes but the first do."""
    sections = group.broadcast(None)
    glyphs = open_glyphs(options.data, sections["codec"].get("size"))
    group.barrier()  # for the first to embed
    cached = embeddings.load_embeddings(options.data, glyphs.captions)
    run = _run(sections, glyphs, cached, device, group, Path())
    run.broadcast_state()
    yield from run.run()


def _run(
    sections: dict[str, dict[str, Any]],
    glyphs: GlyphSet,
    cached: embeddings.Embeddings,
    device: torch.device,
    group: ProcessGroup,
    out: Path,
    *,
    tensorboard: bool = False,
) -> Run:
    config = fit_to_data(sections, glyphs.size, cached.width)
    encoder = EncoderInfo(cached.encoder, cached.fingerprint, cached.max_tokens)
    trainer = Trainer(config, glyphs, cached, device, group)
    return Run(out, Origin(config, encoder, glyphs.fingerprint()), trainer, tensorboard=tensorboard)


def show_settings(options: TrainOptions) -> str:
    """All settings that `train` would use, as TOML that --config takes."""
    _, sections = _settings(options, _device(options, process_info()))
    _start(options, sections)
    lines = []
    for section, values in as_dict(parse(sections)).items():
        lines.append(f"[{section}]")
        for name, value in values.items():
            if name not in DECIDED or name in sections[section]:  # else the data decides
                lines.append(f"{name} = {json.dumps(value)}")
        lines.append("")
    return "\n".join(lines)


def _settings(options: TrainOptions, device: torch.device) -> tuple[str, dict[str, dict[str, Any]]]:
    """The name of the preset, and its sections with the user's file and options laid over them."""
    preset = options.preset or ("gpu" if device.type == "cuda" else "cpu")
    layers = [read_preset(preset)]
    if options.config is not None:
        layers.append(read_toml(options.config))
    try:
        sections = merge(*layers, {"training": options.overrides})
        parse(sections)
    except UsageError as error:
        where = f" (with the settings of {options.config})" if options.config else ""
        raise UsageError(f"{error}{where}") from error
    return preset, sections


def _device(options: TrainOptions, where: ProcessInfo) -> torch.device:
    """The device of this process; in a job `gpus` says no more than whether to use one."""
    gpus, name = options.gpus, options.device
    if gpus > 1 and not in_job():
        raise UsageError(f"--gpus {gpus} needs as many processes: `glyffctl train` starts them, as does torchrun")
    if where.size > 1 and name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"in a job every process takes a GPU of its own; leave out --device {name}")
    if not gpus:
        if name not in ("auto", "cpu"):
            raise UsageError(f"--gpus 0 is the CPU, --device {name} is not; leave one of them out")
        return CPU
    device = choose_device(name)
    if device.type != "cuda":
        return device
    if where.size > 1:
        if where.local >= torch.cuda.device_count():
            raise UsageError(f"process {where.local} of this machine has no GPU: it has {torch.cuda.device_count()}")
        device = torch.device("cuda", where.local)
    torch.cuda.set_device(device)
    return device


def _device_name(device: torch.device, group: ProcessGroup) -> str:
    times = f"{group.size} × " if group.size > 1 else ""
    if device.type == "cuda":
        return times + torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "the Apple GPU"
    threads = torch.get_num_threads()
    return f"{times}the CPU ({threads} thread{'s' * (threads > 1)})"

"""`glyffctl train`: train a model on captioned glyphs into a run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data import embeddings
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU, choose_device, make_deterministic
from glyffctl.core.errors import GlyffError, Interrupted, TrainingError, UsageError
from glyffctl.core.io.bundled import BUNDLED, model_path, pretrained
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import Origin, TrainedModel
from glyffctl.core.models.codec_file import save_codec
from glyffctl.core.models.config import DECIDED, Config, as_dict, fit_to_data, merge, parse, read_preset, read_toml
from glyffctl.core.models.files import CODEC_FILE, TABLE_FILE, EncoderInfo
from glyffctl.core.models.level_table import read_table
from glyffctl.core.models.recipe import ENTROPIC
from glyffctl.core.networks.network import parameter_count
from glyffctl.core.training.distributed import ProcessGroup, ProcessInfo, in_job, process_group, process_info
from glyffctl.core.training.objective import Objective, find_objective
from glyffctl.core.training.trainer import Trainer, check_memory
from glyffctl.workflows.codec import choose_codec, share_codec
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import Caution, Event, Note, finish
from glyffctl.workflows.next_step import NextStep, next_step
from glyffctl.workflows.preflight import preflight
from glyffctl.workflows.run import Run
from glyffctl.workflows.run_folder import lock_folder, make_folder

WORKER_ERROR_DELAY = 5.0
"""Seconds that a process other than the first waits before it raises an error: the first may raise the same one, and
only its error is shown."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `train`.

    Attributes:
        data: the data folder.
        out: the run folder; None is runs/PRESET.
        gpus: 0 trains on the CPU, 1 on a GPU if there is one; more only in a job of as many processes.
        device: the device of a single process, see `core.device.choose_device`.
        preset: a name from `config.preset_names`; None is "gpu" on a GPU, else "cpu".
        config: a TOML file whose settings replace those of the preset.
        overrides: settings of the section [training] that replace both.
        encoder: the text encoder; captions are embedded first if they are not yet. None uses the existing embeddings,
            or the bundled encoder if there are none.
        start: a model, or "bundled", whose network and weights a new run starts from; None starts from random weights.
        codec: of a latent model: a run of the preset autoencoder, a latent model, or an AutoencoderKL of diffusers.
            None takes the copy that a run which goes on has, or that of `start`.
        tensorboard: also write event files for TensorBoard.
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
    codec: Path | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class TrainReport:
    """Result of `train`.

    Attributes:
        out: the run folder.
        parameters: of the network.
        images: pictures trained on, over all sessions.
        epochs: the same in epochs.
        seconds: spent in training, over all sessions.
        validation: loss on held-out characters by σ; empty if none are held out.
        next_step: what can be done with the result.
    """

    out: Path
    parameters: int
    images: int
    epochs: float
    seconds: float
    validation: dict[float, float]
    next_step: NextStep


def train(options: TrainOptions) -> Generator[Event, None, TrainReport | None]:
    """Train a model, or resume a run that was stopped.

    Under torchrun or srun this is one process of a job. Only the first process reads the settings and uses the run
    folder; the others need the data alone, yield no events, and return None.

    Raises:
        GlyffError: the data, the embeddings, the settings or the run folder cannot be used.
        Interrupted: SIGINT or SIGTERM arrived; the run is saved.
    """
    process = process_info()
    device = _device(options, process)
    with process_group(process, device) as group:
        if group.is_main:
            return (yield from _run_main(options, device, group))
        try:
            finish(_run_worker(options, device, group))
        except Interrupted:
            pass  # the first process reports it
        except GlyffError:
            time.sleep(WORKER_ERROR_DELAY)
            raise
        return None


def _run_main(options: TrainOptions, device: torch.device, group: ProcessGroup) -> Generator[Event, None, TrainReport]:
    if options.gpus and options.device == "auto" and device.type == "cpu":
        yield Caution("no GPU was found: training on the CPU (--gpus 0 turns this line off)", "no-gpu")
    plan = _plan(options, device, group)
    options, sections, objective, start, out = plan.options, plan.sections, plan.objective, plan.start, plan.out
    group.broadcast(sections)
    codec = share_codec(plan.codec, group)

    glyphs = open_glyphs(options.data, sections["codec"].get("size"))
    # The text encoder decides the width later; any will do to complain about sizes before minutes are spent on it.
    config = fit_to_data(sections, glyphs.size, parse(sections).network.text_width, codec)
    objective.check(config)
    check_memory(config, len(glyphs), group.size, device)
    yield from _embed_captions(plan, device)
    group.barrier()
    cached = _embeddings(options.data, glyphs, config)
    if start is not None:
        _check_vectors(options, start, cached, taught=objective.taught)
    # A student that goes on learns from a copy of its teacher in the same folder, which does not change.
    if start is not None and options.start is not None and not objective.taught and _same_run(out, options.start):
        raise TrainingError(f"{out} is the run to start from; name another folder for the new one with --out")
    if config.training.freeze and start is None and not (out / checkpoint.STATE_FILE).exists():
        raise UsageError("`freeze` keeps weights of a model to start from; name one with --from")
    make_folder(out)
    with lock_folder(out):
        teacher = _teacher(objective, sections, start)
        run = _make_run(sections, glyphs, cached, device, group, out, teacher, codec, tensorboard=options.tensorboard)
        trainer = run.trainer
        parameters = parameter_count(trainer.network)
        yield Note(
            f"{parameters / 1e6:.1f} M parameters, {trainer.epoch_size:,} glyphs "
            f"(+{len(glyphs) - trainer.epoch_size:,} held out), {glyphs.size}×{glyphs.size}, "
            f"{plan.preset} preset on {_device_name(device, group)}, into {out}",
            "training-setup",
            {"parameters": parameters, "preset": plan.preset, "out": out},
        )
        if resumed := run.resume():
            yield Note(f"resuming at {trainer.images:,} pictures", "run-resumed", {"images": trainer.images})
        else:
            yield from _begin(options, run, start, teacher)
            yield from preflight(trainer)
        if codec is not None and not (resumed and (out / CODEC_FILE).exists()):  # or that of a run that made no step
            save_codec(out / CODEC_FILE, codec)
        run.broadcast_state()
        yield from run.run()
        epochs, then = trainer.images / trainer.epoch_size, next_step(trainer.objective, out)
        return TrainReport(out, parameters, trainer.images, epochs, run.seconds, run.validation, then)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a run is to be, before its data are read.

    Attributes:
        options: with a teacher where the objective takes one.
        preset: the name of the preset.
        sections: all settings, with those of `start`, by section.
        objective: what learns.
        start: the model to start or to learn from.
        codec: what pictures become first, if that has weights.
        out: the run folder.
    """

    options: TrainOptions
    preset: str
    sections: dict[str, dict[str, Any]]
    objective: type[Objective]
    start: TrainedModel | None
    codec: Latents | None
    out: Path


def _plan(options: TrainOptions, device: torch.device, group: ProcessGroup) -> _Plan:
    """Read the settings and load what they name: errors in these come before minutes are spent on embedding."""
    preset, sections = _settings(options, device)
    objective = find_objective(parse(sections))
    if not objective.shared and group.size > 1:
        raise UsageError(f"the objective {parse(sections).training.objective} trains in one process; use --gpus 1")
    out = options.out or Path("runs") / preset
    options = _with_teacher(options, objective, out)
    start = _load_start(options, sections)
    _fill_table(sections, out, start)
    codec = choose_codec(options.codec, sections, options.data, out, start)
    settings = parse(sections)
    objective = find_objective(settings)  # anew: `start` brings its own kind of network
    if options.encoder is not None and not objective.captioned:
        raise UsageError(f"the objective {settings.training.objective} reads no captions; leave --encoder out")
    if settings.training.deterministic:
        make_deterministic()
    return _Plan(options, preset, sections, objective, start, codec, out)


def _embed_captions(plan: _Plan, device: torch.device) -> Generator[Event, None, None]:
    """Run the captions through the text encoder where they are read, and are not embedded yet, or by another one."""
    options, objective = plan.options, plan.objective
    encoder = options.encoder
    if objective.taught and plan.start is not None:
        encoder = _teachers_encoder(options, plan.start)
    embedded = options.encoder is None and (options.data / embeddings.FILE_NAME).exists()
    if objective.captioned and not embedded:
        yield from embed(EmbedOptions(options.data, encoder or BUNDLED, device=str(device)))


def _begin(
    options: TrainOptions, run: Run, start: TrainedModel | None, teacher: TrainedModel | None
) -> Generator[Event, None, None]:
    """Give a new run the weights that it starts from, and note where they or what it learns from come from."""
    if teacher is not None:
        before = run.trainer.objective.images_before
        anew = "; its student has another rank, so this one starts anew" if teacher.few_step is not None else ""
        yield Note(
            f"learning from {options.start or run.out}, {teacher.history}"
            + (f"; going on from its student, which was shown {before:,} jumps" if before else anew),
            "teacher-loaded",
            {"model": options.start},
        )
        run.trainer.images_before = run.trainer.objective.images_before
    elif start is not None:
        run.trainer.start_from(start.network, start.images, start.epochs)
        yield Note(
            f"starting from the weights of {options.start}, trained on {start.images:,} pictures",
            "weights-loaded",
            {"model": options.start, "images": start.images},
        )
        if start.origin.encoder.fingerprint != run.origin.encoder.fingerprint:
            yield Caution(
                f"{options.start} was trained with another text encoder than the captions are embedded with; "
                "it has to learn the new vectors",
                "encoder-changed",
            )


def _teachers_encoder(options: TrainOptions, start: TrainedModel) -> str:
    """The text encoder of the teacher `start`: a student knows no other vectors.

    Raises:
        UsageError: another one was asked for.
    """
    name = start.origin.encoder.name
    if options.encoder not in (None, name):
        raise UsageError(
            f"the model at {options.start} was trained with the text encoder {name}, and so is its student; leave "
            "--encoder out"
        )
    return name


def _check_vectors(options: TrainOptions, start: TrainedModel, cached: embeddings.Embeddings, *, taught: bool) -> None:
    """Raise TrainingError if captions are embedded so that the model to start from cannot take them."""
    trained = start.origin.encoder
    if start.text_width != cached.width or (taught and cached.fingerprint != trained.fingerprint):
        raise TrainingError(
            f"the model at {options.start} was trained with the text encoder {trained.name}, the captions are embedded "
            f"with {cached.encoder}, whose vectors are others; run `glyffctl embed --data {options.data} --encoder "
            f"{trained.name}`"
        )


def _with_teacher(options: TrainOptions, objective: type[Objective], out: Path) -> TrainOptions:
    """`options` with a teacher where the objective takes one: a run in `out` has it beside its student.

    Raises:
        UsageError: none is named, and there is none.
    """
    if options.start is not None or not objective.taught:
        return options
    if not (out / checkpoint.MODEL_FILE).exists():
        raise UsageError("a few-step student learns from a model: name it with --from, such as --from bundled")
    return replace(options, start=out)


def _same_run(out: Path, start: Path) -> bool:
    """Whether the model `start` is the one that a run in `out` writes."""
    model = model_path(start)
    file = model / checkpoint.MODEL_FILE if model.is_dir() else model
    return file.resolve() == (out / checkpoint.MODEL_FILE).resolve()


def _teacher(
    objective: type[Objective], sections: dict[str, dict[str, Any]], start: TrainedModel | None
) -> TrainedModel | None:
    """The model that a run learns from, whose identity is put into `sections`; None for most objectives."""
    if start is None or not objective.taught:
        return None
    sections["few_step"]["teacher"] = start.identity
    return start


def _load_start(options: TrainOptions, sections: dict[str, dict[str, Any]]) -> TrainedModel | None:
    """Load the model that a new run starts from, and put its settings of network and codec into `sections`."""
    if options.start is None:
        return None
    model = checkpoint.load_model(model_path(options.start))
    settings = as_dict(model.origin.config)
    objective, kind = find_objective(parse(sections)), settings["network"]["kind"]
    if kind not in objective.kinds:
        raise UsageError(
            f"--from {options.start} has a network of the kind {kind}, where these settings train "
            f"{' or '.join(objective.kinds)}; name a model of that kind, or take the --preset that made this one"
        )
    if objective.taught:
        sections["diffusion"] = settings["diffusion"]  # a student draws what its teacher does
    for section in ("network", "codec"):
        kind = settings[section]["kind"]
        if sections[section].get("kind", kind) != kind:
            raise UsageError(
                f"--from {options.start} has a {section} of the kind {kind}, the settings ask for "
                f"{sections[section]['kind']}; leave one of them out"
            )
        sections[section] = settings[section]
    return model


def _fill_table(sections: dict[str, dict[str, Any]], out: Path, start: TrainedModel | None) -> None:
    """Put a table into `sections` where they ask for a schedule that takes one and have none.

    That of the run in `out`, if there is one; else that of the model to start from; else that of the bundled model.
    """
    diffusion = sections["diffusion"]
    if diffusion.get("schedule") not in ENTROPIC or diffusion.get("sigma") or diffusion.get("information"):
        return
    origin = checkpoint.load_origin(out)
    if origin is not None and origin.config.diffusion.sigma:
        before = as_dict(origin.config)["diffusion"]
        diffusion |= {name: before[name] for name in ("sigma", "information")}
        return
    table = start.table if start is not None else None
    diffusion |= (table or read_table(pretrained(TABLE_FILE))).as_plain()


def _run_worker(options: TrainOptions, device: torch.device, group: ProcessGroup) -> Generator[Event, None, None]:
    """Train in a process other than the first."""
    sections = group.broadcast(None)
    if parse(sections).training.deterministic:
        make_deterministic()
    codec = share_codec(None, group)
    glyphs = open_glyphs(options.data, sections["codec"].get("size"))
    group.barrier()  # until the first process has embedded the captions
    cached = _embeddings(options.data, glyphs, parse(sections))
    run = _make_run(sections, glyphs, cached, device, group, Path(), codec=codec)
    run.broadcast_state()
    yield from run.run()


def _embeddings(data: Path, glyphs: GlyphSet, config: Config) -> embeddings.Embeddings:
    """The encoded captions, or what stands for them where none are read."""
    if find_objective(config).captioned:
        return embeddings.load_embeddings(data, glyphs.captions)
    return embeddings.no_embeddings(len(glyphs.captions), config.network.text_width)


def _make_run(
    sections: dict[str, dict[str, Any]],
    glyphs: GlyphSet,
    cached: embeddings.Embeddings,
    device: torch.device,
    group: ProcessGroup,
    out: Path,
    teacher: TrainedModel | None = None,
    codec: Latents | None = None,
    *,
    tensorboard: bool = False,
) -> Run:
    config = fit_to_data(sections, glyphs.size, cached.width, codec)
    encoder = EncoderInfo(cached.encoder, cached.fingerprint, cached.max_tokens)
    trainer = Trainer(config, glyphs, cached, device, group, teacher=teacher, codec=codec)
    return Run(out, Origin(config, encoder, glyphs.fingerprint()), trainer, tensorboard=tensorboard)


def show_settings(options: TrainOptions) -> str:
    """All settings that `train` would use, as TOML for `config`."""
    preset, sections = _settings(options, _device(options, process_info()))
    start = _load_start(options, sections)
    if options.codec is not None:
        choose_codec(options.codec, sections, options.data, options.out or Path("runs") / preset, start)
    lines = []
    for section, values in as_dict(parse(sections)).items():
        lines.append(f"[{section}]")
        for name, value in values.items():
            if name not in DECIDED or name in sections[section]:  # else the data decide
                lines.append(f"{name} = {json.dumps(value)}")
        lines.append("")
    return "\n".join(lines)


def _settings(options: TrainOptions, device: torch.device) -> tuple[str, dict[str, dict[str, Any]]]:
    """The name of the preset, and the settings by section: the preset, then `config`, then `overrides`."""
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


def _device(options: TrainOptions, process: ProcessInfo) -> torch.device:
    """The device of this process. In a job, `gpus` only decides between GPU and CPU."""
    gpus, name = options.gpus, options.device
    if gpus > 1 and not in_job():
        raise UsageError(f"--gpus {gpus} needs as many processes; start them with `glyffctl train` or torchrun")
    if process.size > 1 and name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"in a job every process has a GPU of its own; leave out --device {name}")
    if not gpus:
        if name not in ("auto", "cpu"):
            raise UsageError(f"--gpus 0 trains on the CPU, --device {name} does not; leave one of them out")
        return CPU
    mine = process.local if process.size > 1 else 0
    if name != "cpu" and mine >= (count := torch.cuda.device_count()) > 0:
        raise UsageError(f"process {mine} of this machine has no GPU: it has {count}")
    device = choose_device(name, mine)
    if device.type == "cuda":
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

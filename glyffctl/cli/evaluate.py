"""`evaluate`."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glyffctl.cli.options import (
    DEFAULT_MODEL,
    MOST,
    SEED,
    Batch,
    DdpmVariance,
    Device,
    Json,
    LangevinSteps,
    MovedEncoder,
    Passes,
    Precision,
    Sampler,
    Schedule,
    Snr,
    Steps,
    given_recipe,
    real,
    whole,
)
from glyffctl.cli.output import run, say
from glyffctl.cli.typed import pronoun, typed_beside, was_typed
from glyffctl.core.errors import UsageError

if TYPE_CHECKING:
    from glyffctl.workflows.events import Event
    from glyffctl.workflows.held_out import HeldOutReport

_RESTORATION = {"model", "data", "pictures", "device", "out", "json"}
"""Parameters allowed where --model names a codec,"""
_DRAWN_RESTORATION = _RESTORATION | {"seed", "batch", "precision"}
"""and an upscaler,"""
_RETRIEVAL = {"model", "data", "pictures", "seed", "device", "out", "json"}
"""and contrastive towers,"""
_TRAINING = {"train_classifier", "data", "classifier", "seed", "device", "json"}
"""and where a classifier is trained."""


def evaluate(
    ctx: typer.Context,
    data: Annotated[
        Path, typer.Option(help="Real glyphs to compare with: the data folder the model was trained on.")
    ] = Path("data"),
    model: Annotated[
        Path | None,
        typer.Option(
            help="Run folder, model file, or bundled; or a diffusers model, as a folder or a name on the Hugging Face "
            "hub. A codec or an upscaler is measured by how well held-out glyphs come back, contrastive towers by how "
            f"well they match held-out glyphs with their definitions. {DEFAULT_MODEL}",
            show_default=False,
        ),
    ] = None,
    encoder: MovedEncoder = None,
    count: Annotated[
        int,
        whole("--count", "Pictures per prompt with a known radical; 48 such prompts are built in.", 1, 10_000),
    ] = 16,
    pictures: Annotated[
        int,
        whole(
            "--pictures",
            "Pictures to draw for held-out definitions, at most, and as many without a prompt. For a codec or an "
            "upscaler: how many held-out glyphs to use, by default 64; for contrastive towers, by default all of "
            "them.",
            16,
            100_000,
        ),
    ] = 256,
    passes: Passes = None,
    steps: Steps = None,
    guidance: Annotated[
        float | None,
        real("--guidance", "Guidance γ, with the meaning and the default of `sample`.", -100, 100, show_default=False),
    ] = None,
    sampler: Sampler = None,
    schedule: Schedule = None,
    snr: Snr = None,
    langevin_steps: LangevinSteps = None,
    ddpm_variance: DdpmVariance = None,
    seed: Annotated[int, whole("--seed", SEED, 0, MOST)] = 0,
    batch: Batch = 16,
    precision: Precision = "auto",
    device: Device = "auto",
    prompts: Annotated[
        Path | None,
        typer.Option(
            help='TOML file with your own prompts in a table “prompts”: "a kind of fish" = 195 names the expected '
            'Kangxi radical, "to speak" = { radical = 149, also = [30] } accepts others too.',
            show_default=False,
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            help="Table of ideographic description sequences such as CJKVI's ids.txt (.gz). Also measures whether "
            "glyphs combine existing components in new ways; takes a minute longer.",
            show_default=False,
        ),
    ] = None,
    drawings: Annotated[
        Path | None,
        typer.Option(
            help="A .safetensors file that caches the drawn pictures; later runs reuse them unless the model, prompts "
            "or settings have changed.",
            show_default=False,
        ),
    ] = None,
    steps_table: Annotated[
        bool, typer.Option("--steps-table", help="Also compare all samplers at 5, 10, 20 and 40 steps. Slow.")
    ] = False,
    classifier: Annotated[
        Path | None,
        typer.Option(help="Classifier file. Default: the bundled one.", show_default=False),
    ] = None,
    contrastive: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of `train --preset contrastive`. Also measures how well pictures fit their prompts and "
            "definitions, compared with those of others.",
            show_default=False,
        ),
    ] = None,
    train_classifier: Annotated[
        bool,
        typer.Option(
            "--train-classifier",
            help="Train a classifier on --data (ideally from several fonts), write it to --classifier "
            "(default: classifier.safetensors), and exit.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="JSON file to write all figures to.")] = Path("evaluation.json"),
    json: Json = False,
) -> None:
    """Measure a model: prompt adherence, similarity to real glyphs, novelty, and stroke quality."""
    from glyffctl.core.models.files import compares
    from glyffctl.workflows.restoration import restores

    if train_classifier:
        _train_classifier(ctx)
        return
    if model is not None and restores(model):
        _restoration(ctx, model)
        return
    if model is not None and compares(model):
        _retrieval(ctx, model)
        return
    from glyffctl.workflows import evaluate as workflow

    options = workflow.EvaluateOptions(
        data=data,
        model=model,
        encoder=encoder,
        classifier=classifier,
        contrastive=contrastive,
        prompts=prompts,
        recipe=given_recipe(
            sampler,
            steps,
            guidance,
            passes=passes,
            schedule=schedule,
            snr=snr,
            langevin_steps=langevin_steps,
            ddpm_variance=ddpm_variance,
        ),
        guidance=guidance,
        count=count,
        pictures=pictures,
        seed=seed,
        batch=batch,
        precision=precision,
        device=device,
        ids=ids,
        drawings=drawings,
        steps_table=steps_table,
        out=out,
    )
    report = run(workflow.evaluate(options), as_json=json)
    if not json:
        from glyffctl.display.evaluation_table import show_evaluation

        show_evaluation(report)
        for file in filter(None, (report.out, report.plot)):
            say(file)


def _train_classifier(ctx: typer.Context) -> None:
    """Train a classifier with the options that were typed."""
    from glyffctl.workflows.classifier import ClassifierOptions, make_classifier

    if refused := typed_beside(ctx, _TRAINING):
        raise UsageError(f"--train-classifier takes no {', no '.join(refused)}; leave {pronoun(refused)} out")
    typed = _typed(ctx, _TRAINING - {"train_classifier"})
    if "classifier" in typed:
        typed["out"] = typed.pop("classifier")
    as_json = ctx.params["json"]
    report = run(make_classifier(ClassifierOptions(**typed)), as_json=as_json)
    if not as_json:
        for name, figure in report.accuracy_of.items():
            say(f"{figure.value:.1%} of held-out characters right in {name}")
        say(f"{report.out}: {report.accuracy.value:.1%} right")


def _restoration(ctx: typer.Context, model: Path) -> None:
    """Measure the codec or upscaler `model` with the options that were typed."""
    from glyffctl.core.models.codec_file import is_codec
    from glyffctl.workflows.restoration import RestorationOptions, restoration

    allowed = _RESTORATION if is_codec(model) else _DRAWN_RESTORATION
    if refused := typed_beside(ctx, allowed):
        kind = "a codec" if is_codec(model) else "an upscaler"
        raise UsageError(f"{model} is {kind}, which takes no {', no '.join(refused)}; leave {pronoun(refused)} out")
    _show(ctx, restoration(RestorationOptions(model=model, **_typed(ctx, allowed))))


def _retrieval(ctx: typer.Context, model: Path) -> None:
    """Measure the contrastive towers `model` with the options that were typed."""
    from glyffctl.workflows.retrieval import RetrievalOptions, retrieval

    if refused := typed_beside(ctx, _RETRIEVAL):
        raise UsageError(
            f"{model} has contrastive towers, which take no {', no '.join(refused)}; leave {pronoun(refused)} out"
        )
    _show(ctx, retrieval(RetrievalOptions(model=model, **_typed(ctx, _RETRIEVAL))))


def _typed(ctx: typer.Context, allowed: set[str]) -> dict[str, Any]:
    """The options among `allowed` that were typed, for what is measured."""
    return {name: ctx.params[name] for name in allowed - {"json", "model"} if was_typed(ctx, name)}


def _show(ctx: typer.Context, measuring: Generator[Event, None, HeldOutReport]) -> None:
    """Run a measurement on held-out glyphs, and show its figures and where they are."""
    from glyffctl.display.restoration_table import show_restoration

    as_json = ctx.params["json"]
    report = run(measuring, as_json=as_json)
    if not as_json:
        show_restoration(report)
        say(report.out)

"""`evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glyffctl.cli.options import (
    MOST,
    SEED,
    Batch,
    DdpmVariance,
    Device,
    Json,
    LangevinSteps,
    Model,
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


def evaluate(
    data: Annotated[
        Path, typer.Option(help="Real glyphs to compare with: the data folder the model was trained on.")
    ] = Path("data"),
    model: Model = None,
    encoder: MovedEncoder = None,
    count: Annotated[
        int,
        whole("--count", "Pictures per prompt with a known radical; 48 such prompts are built in.", 1, 10_000),
    ] = 16,
    pictures: Annotated[
        int,
        whole("--pictures", "Pictures of held-out definitions (at most), and as many without a prompt.", 16, 100_000),
    ] = 256,
    passes: Passes = None,
    steps: Steps = None,
    guidance: Annotated[float, real("--guidance", "Guidance γ, as in `sample`.", -100, 100)] = 4.0,
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
    if train_classifier:
        from glyffctl.workflows import classifier as training

        learned = run(
            training.make_classifier(
                training.ClassifierOptions(
                    data=data, out=classifier or Path("classifier.safetensors"), seed=seed, device=device
                )
            ),
            as_json=json,
        )
        if not json:
            for name, figure in learned.accuracy_of.items():
                say(f"{figure.value:.1%} of held-out characters right in {name}")
            say(f"{learned.out}: {learned.accuracy.value:.1%} right")
        return
    from glyffctl.workflows import evaluate as workflow

    options = workflow.EvaluateOptions(
        data=data,
        model=model,
        encoder=encoder,
        classifier=classifier,
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

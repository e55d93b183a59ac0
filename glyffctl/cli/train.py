"""`train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from glyffctl.cli.options import MOST, SEED, Data, Device, Json, real, whole
from glyffctl.cli.output import run, say


def train(
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/PRESET.", show_default=False)] = None,
    gpus: Annotated[
        int,
        whole(
            "--gpus",
            "1 trains on a GPU if there is one, otherwise on the CPU; 0 trains on the CPU; N > 1 starts N "
            "processes. Under torchrun or srun, the command joins their job.",
            0,
            1024,
        ),
    ] = 1,
    device: Device = "auto",
    preset: Annotated[
        str | None,
        typer.Option(
            help="cpu, gpu, glyffuser, dit (a transformer), few-step (a student of the model that --from names; it "
            "draws in a few passes), upscaler (enlarges pictures four times; needs data of --size 512), "
            "autoencoder (a codec), latent (draws in the latents of --codec), vae or gan (draw in one pass, as "
            "was done before diffusion), classifier (leads a model to a radical), or contrastive (tells which "
            "glyphs and captions belong together). Default: chosen for the machine.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file of settings that override the preset; see --show-config.", show_default=False),
    ] = None,
    epochs: Annotated[
        float | None, real("--epochs", "Budget: passes over the data.", 0, above=True, show_default=False)
    ] = None,
    images: Annotated[int | None, whole("--images", "Budget: training pictures.", 1, MOST, show_default=False)] = None,
    minutes: Annotated[
        float | None, real("--minutes", "Budget: minutes of training.", 0, above=True, show_default=False)
    ] = None,
    batch: Annotated[
        int | None,
        whole("--batch", "Pictures per step, summed over all processes.", 1, 1_000_000, show_default=False),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        whole("--checkpoint-every", "Pictures between checkpoints.", 1, MOST, metavar="IMAGES", show_default=False),
    ] = None,
    seed: Annotated[int | None, whole("--seed", SEED, 0, MOST, show_default=False)] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Text encoder, for data that are not embedded yet.", show_default=False),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start a new run with the network and weights of this model: a run folder, a model file, or bundled.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
    freeze: Annotated[
        int | None,
        whole(
            "--freeze",
            "How many of the network's coarsest levels keep the weights of --from: to learn a style from few glyphs "
            "without forgetting what prompts mean.",
            0,
            16,
            metavar="LEVELS",
            show_default=False,
        ),
    ] = None,
    codec: Annotated[
        Path | None,
        typer.Option(
            help="Codec of a latent model: a run of the preset autoencoder, a latent model, or an AutoencoderKL of "
            "diffusers.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print all settings as TOML, without training.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a model. Running the same command again resumes it."""
    from glyffctl.core.training import distributed as processes
    from glyffctl.workflows import train as workflow

    overrides = {
        "epochs": epochs,
        "images": images,
        "minutes": minutes,
        "batch": batch,
        "checkpoint_every": checkpoint_every,
        "seed": seed,
        "freeze": freeze,
    }
    options = workflow.TrainOptions(
        data=data,
        out=out,
        gpus=gpus,
        device=device,
        preset=preset,
        config=config,
        overrides={name: value for name, value in overrides.items() if value is not None},
        encoder=encoder,
        start=start,
        codec=codec,
        tensorboard=tensorboard,
    )
    if show_config:
        typer.echo(workflow.show_settings(options), nl=False)
        return
    if gpus > 1 and not processes.in_job():
        from glyffctl.workflows.launch import launch

        raise typer.Exit(launch(sys.argv[1:], gpus))
    report = run(workflow.train(options), as_json=json)
    if report is not None and not json:
        say(f"{report.out}  ({report.next_step.purpose}: {report.next_step.command})")

"""Models of diffusers: their own loop and ours draw the same, from folders and from the hub."""

import functools
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from PIL import Image
from torch import Tensor

from glyffctl.core import precision
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.guidance import clamp, guide
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.errors import EmbeddingError, ModelError, UsageError
from glyffctl.core.interop.diffusers_model import DiffusersNetwork, load_diffusers
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import Model
from glyffctl.core.models.generate import generate
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.noise import normal
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_model import load_prompted_model
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from glyffctl.workflows.umap_pictures import trace_sampling
from tests.conftest import follow, of_kind
from tests.stand_in_pipelines import (
    AUTHOR,
    CLASSES,
    SMALL,
    WEIGHTS,
    WIDTH,
    add_encoder,
    make_pipeline,
    make_unet,
    only_pickle,
    scheduler_of,
)
from tests.stand_ins import make_t5, serve_hub
from tests.toys import captions

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LIKE = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmpp-2m"}


def network_of(model: Model) -> DiffusersNetwork:
    assert isinstance(model.network, DiffusersNetwork)
    return model.network


def their_loop(
    model: Model,
    scheduler: Any,
    text: Condition,
    negative: Condition,
    z: Tensor,
    steps: int,
    guidance: float,
) -> Tensor:
    """diffusers' own way to draw: its network, its scheduler, guidance on what the network predicts."""
    unet = network_of(model).unet
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        towards = unet(z, t, encoder_hidden_states=text.tokens, encoder_attention_mask=text.mask).sample
        if guidance != 1:
            away = unet(z, t, encoder_hidden_states=negative.tokens, encoder_attention_mask=negative.mask).sample
            towards = away + guidance * (towards - away)
        z = scheduler.step(towards, t, z).prev_sample
    return z


LOOPS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddpm": ("ddpm", "DDPMScheduler", {}),
    "ddpm, v, cosine, no clip": (
        "ddpm",
        "DDPMScheduler",
        {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2", "clip_sample": False},
    ),
    "ddim, x0, range 2": (
        "ddim",
        "DDIMScheduler",
        {"prediction_type": "sample", "clip_sample_range": 2.0, "timestep_spacing": "trailing"},
    ),
    "dpm-solver++": ("dpmpp-2m", "DPMSolverMultistepScheduler", {}),
    "dpm-solver++, scaled linear, thresholds": (
        "dpmpp-2m",
        "DPMSolverMultistepScheduler",
        {"beta_schedule": "scaled_linear", "thresholding": True, "timestep_spacing": "leading", "steps_offset": 1},
    ),
    "dpm-solver++, rescaled, v": (
        "dpmpp-2m",
        "DPMSolverMultistepScheduler",
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    ),
}


@pytest.mark.parametrize(
    ("case", "guidance"),
    [("ddpm", 1.0), ("dpm-solver++", 3.0)]
    + [
        pytest.param(case, guidance, marks=pytest.mark.thorough)
        for case in LOOPS
        for guidance in (1.0, 3.0)
        if (case, guidance) not in (("ddpm", 1.0), ("dpm-solver++", 3.0))
    ],
)
@torch.no_grad()
def test_draws_what_diffusers_draws(
    case: str, guidance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, scheduler, settings = LOOPS[case]
    make_pipeline(tmp_path, scheduler=scheduler, **settings)
    theirs = scheduler_of(tmp_path, monkeypatch)  # before: the table of our model is read in float64, too
    model = load_diffusers(tmp_path)
    assert f"is like the sampler {sampler}" in model.history
    text, index = captions(2, WIDTH), torch.arange(2)
    negative = Condition(torch.ones(2, 1, WIDTH, dtype=torch.float64), torch.ones(2, 1, dtype=torch.bool))
    steps, shape = 10, (1, 16, 16)
    sigmas = model.schedule.steps(steps)
    scale = float((1 + sigmas[0] ** 2).sqrt())
    eps = normal(0, index, shape, 0, dtype=torch.float64)

    def draw(i: int) -> Tensor:
        return normal(0, index, shape, 16 + i, dtype=torch.float64)

    # In float64: the same numbers.
    model.network.double()
    denoise = guide(Denoiser(model.network, model.prediction), text, negative, guidance)
    if model.codec.limit is not None:
        denoise = clamp(denoise, model.codec.limit)
    *_, last = SAMPLERS[sampler](denoise, eps * scale, sigmas, draw)
    noise = (draw(i) for i in range(steps))
    if sampler == "ddpm":
        monkeypatch.setattr(sys.modules[type(theirs).__module__], "randn_tensor", lambda *_, **__: next(noise))
    expected = their_loop(model, theirs, text, negative, eps, steps, guidance)
    assert float(expected.std()) > 0.1
    difference = float((last.x - expected).abs().max() / expected.abs().max())
    print(f"{case}: {difference:.1e} in float64")
    assert difference < 1e-11

    # As it is drawn: noise, network and sampler in float32.
    model.network.float()
    text, negative = (Condition(batch.tokens.float(), batch.mask) for batch in (text, negative))
    *_, last = generate(
        Denoiser(model.network, model.prediction),
        model.schedule,
        Recipe(sampler=sampler, steps=steps, guidance=guidance),
        text,
        negative,
        index,
        (1, 16, 16),
        model.codec.limit,
    )
    difference = float((last.x - expected).abs().max() / expected.abs().max())
    print(f"{case}: {difference:.1e} in float32")
    assert difference < 4e-5  # of noise levels of 160, which cancel in every step


def options(model: Path, out: Path, *prompts: str, **more: Any) -> SampleOptions:
    recipe = more.pop("recipe", Recipe(steps=6, guidance=1.0))
    return SampleOptions(prompts=prompts, model=model, out=out, count=2, precision="fp32", recipe=recipe, **more)


def grey(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L")).astype(int)


@torch.no_grad()
@pytest.mark.thorough
def test_the_glyffuser_s_pipeline_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its author's pipeline does: T5 of the prompt alone, noise, network, DPM-Solver++, the values in 0…1."""
    from transformers import AutoTokenizer, T5EncoderModel

    folder = make_pipeline(tmp_path / "glyffuser", AUTHOR, pipeline="GlyffuserPipeline")
    encoder = make_t5(tmp_path / "t5", WIDTH)
    prompt = "a kind of metal; a bell used in ancient times"
    report = finish(sample(options(folder, tmp_path / "out", prompt, "fish", encoder=str(encoder), seed=5)))
    drawn = np.stack([grey(file) for file in report.files])

    tokenizer = AutoTokenizer.from_pretrained(encoder, model_max_length=256)
    t5 = T5EncoderModel.from_pretrained(encoder).eval()
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    scheduler = DPMSolverMultistepScheduler()
    expected = []
    for text in (prompt, "fish"):
        encoded = tokenizer([text], return_tensors="pt", padding="longest", max_length=256, truncation=True)
        mask = encoded.attention_mask.bool()
        tokens = t5(input_ids=encoded.input_ids, attention_mask=mask.long()).last_hidden_state
        tokens = tokens.masked_fill(~mask[..., None], 0.0).expand(2, -1, -1)
        image = normal(0, torch.tensor([5, 6]), (1, 32, 32), 0)
        scheduler.set_timesteps(6)
        for t in scheduler.timesteps:
            answer = unet(image, t, encoder_hidden_states=tokens, encoder_attention_mask=mask.expand(2, -1)).sample
            image = scheduler.step(answer, t, image).prev_sample
        expected.append((image.clamp(0, 1) * 255).round()[:, 0])
    theirs = torch.cat(expected).numpy().astype(int)
    assert drawn.shape == theirs.shape == (4, 32, 32)
    assert 30 < drawn.std() < 130
    assert np.abs(drawn - theirs).max() <= 1  # a grey at the border of two
    assert np.abs(drawn[0] - drawn[2]).max() > 1  # the prompts count

    # And again from the picture alone.
    finish(sample(options_from_picture(report.files[3], out=tmp_path / "again.png")))
    assert (tmp_path / "again.png").read_bytes() == report.files[3].read_bytes()


def test_its_own_encoder_is_read_and_the_empty_prompt_is_text(pipeline: Path, tmp_path: Path) -> None:
    events, _ = follow(sample(options(pipeline, tmp_path / "x.png", "fish", "", recipe=Recipe(steps=4, guidance=4.0))))
    [note] = of_kind(events, "model-chosen")
    assert note.facts["model"] == pipeline and "SomePipeline" in note.text and "dpmpp-2m" in note.text
    settings = read_settings(tmp_path / "x.png")
    assert settings["encoder"] == str(pipeline / "text_encoder")
    assert settings["model"] == str(pipeline)
    encoder = load_encoder(pipeline / "text_encoder", encodes_empty=True)
    assert encoder.encode(["", "fish"]).mask.sum(1).tolist() == [1, len(encoder.tokenize(["fish"])[0])]
    assert encoder.encode([""]).tokens.any()


def test_whatever_draws_guides_away_from_the_empty_text(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These networks know no caption that is absent: figures, maps and `evaluate` have to draw what `sample` does."""
    monkeypatch.setattr(precision, "_speedup", lambda _: 1.0)  # float32 on every machine, as `sample` here
    report = finish(sample(options(pipeline, tmp_path / "x", "fish", "", recipe=Recipe(guidance=4.0))))
    expected = np.stack([grey(file) for file in report.files])
    cpu = torch.device("cpu")

    model = finish(load_prompted_model(pipeline, None, "fish", 0, cpu))
    text = finish(model.text("fish", "fish", "", ""))
    drawn = finish(model.drawer.draw(Recipe(guidance=4.0), text, torch.tensor([0, 1, 0, 1]))).numpy().astype(int)
    assert expected.std() > 20 and np.abs(drawn - expected).max() <= 1
    nothing, empty = model.drawer.nothing(2), finish(model.text(""))
    assert bool(nothing.mask.all()) and torch.equal(nothing.tokens, empty.tokens.repeat(2, 1, 1))

    for prompt, row in (("fish", 0), ("", 2)):
        traced = finish(trace_sampling(prompt, pipeline, None, 0, 16, cpu))
        assert np.abs(traced.pictures[-1].numpy().astype(int) - expected[row]).max() <= 1


@torch.no_grad()
def test_a_picture_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    """Networks of this kind see the padding where they pool text; ours gives them none."""
    network = network_of(load_diffusers(make_pipeline(tmp_path, AUTHOR)))
    z, sigma = normal(0, torch.arange(4), (1, 32, 32), 0), torch.ones(4, dtype=torch.float64)
    text = captions(4, WIDTH)
    text = Condition(text.tokens.float(), text.mask)
    together = network(z, sigma, network.encode(text))
    for row in range(4):
        length = int(text.mask[row].sum())
        alone = Condition(text.tokens[row : row + 1, :length], text.mask[row : row + 1, :length])
        answer = network(z[row : row + 1], sigma[:1], alone)
        torch.testing.assert_close(answer[0], together[row], rtol=0, atol=2e-5 * float(together.abs().max()))
    padded = network.unet(z[:1], 500.0, encoder_hidden_states=text.tokens[:1]).sample
    bare = network.unet(z[:1], 500.0, encoder_hidden_states=text.tokens[:1, :1]).sample
    assert float((padded - bare).abs().max()) > 1e-3, "this test shows nothing: padding is not seen"


def test_t_is_the_place_in_the_table(pipeline: Path) -> None:
    model = load_diffusers(pipeline)
    network, sigmas = network_of(model), model.schedule.sigmas
    assert torch.equal(network.timestep(sigmas), torch.arange(1000, dtype=torch.float64))
    between = (sigmas[500] * sigmas[501]).sqrt()
    assert float(network.timestep(between[None])) == pytest.approx(500.5, abs=1e-6)
    ends = torch.tensor([1e-9, 1e9], dtype=torch.float64)
    assert network.timestep(ends).tolist() == [0, 999]


def test_colours_are_averaged(tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path / "rgb", SMALL | {"in_channels": 3, "out_channels": 3})
    add_encoder(folder)
    report = finish(sample(options(folder, tmp_path / "out", "fish", batch=1)))
    model = load_diffusers(folder)
    text = load_encoder(folder / "text_encoder").encode(["fish"])
    *_, last = generate(
        Denoiser(model.network, "eps"), model.schedule, Recipe(steps=6, guidance=1.0), text, text, torch.tensor([1]),
        (3, 16, 16), limit=None,
    )  # fmt: skip
    assert last.x.shape == (1, 3, 16, 16)
    expected = ((last.x[0].mean(0) + 1) * 127.5).round().clamp(0, 255)
    assert np.abs(grey(report.files[1]) - expected.numpy()).max() <= 1


def test_a_bare_network(tmp_path: Path) -> None:
    make_unet(tmp_path / "bare", SMALL)
    encoder = make_t5(tmp_path / "t5", WIDTH)
    with pytest.raises(EmbeddingError, match=r"64 numbers.*--encoder"):
        finish(sample(options(tmp_path / "bare", tmp_path / "x.png", "fish")))
    finish(sample(options(tmp_path / "bare", tmp_path / "x.png", "fish", encoder=str(encoder))))
    assert grey(tmp_path / "x.png").std() > 10
    wrong = make_t5(tmp_path / "wrong", 48)
    with pytest.raises(EmbeddingError, match=r"48 numbers, this model needs 64"):
        finish(sample(options(tmp_path / "bare", tmp_path / "x.png", "fish", encoder=str(wrong))))


@pytest.mark.parametrize(
    ("name", "layout"),
    [("DDIMScheduler", "beside"), ("DDPMScheduler", "parts")]
    + [
        pytest.param(name, layout, marks=pytest.mark.thorough)
        for name in CLASSES
        for layout in ("beside", "parts")
        if (name, layout) not in (("DDIMScheduler", "beside"), ("DDPMScheduler", "parts"))
    ],
)
@torch.no_grad()
def test_what_save_pretrained_writes(name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network and scheduler saved one by one: in folders of their own, or beside each other; no model_index.json."""
    module = importlib.import_module(f"diffusers.schedulers.scheduling_{CLASSES[name]}")
    scheduler = getattr(module, name)(beta_end=0.015, timestep_spacing="trailing")
    folder = tmp_path / "model"
    encoder = make_t5(folder / "text_encoder" if layout == "parts" else tmp_path / "t5", WIDTH)
    make_unet(folder / "unet" if layout == "parts" else folder, SMALL)
    scheduler.save_pretrained(folder / "scheduler" if layout == "parts" else folder)
    recipe = Recipe(sampler=LIKE[name], steps=5, guidance=2.0)
    given = None if layout == "parts" else str(encoder)
    report = finish(sample(options(folder, tmp_path / "out", "fish", recipe=recipe, encoder=given)))

    text = load_encoder(encoder, encodes_empty=True)
    index = torch.arange(2)
    noise = (normal(0, index, (1, 16, 16), 16 + i) for i in range(5))
    if name == "DDPMScheduler":
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(noise))
    if name == "DDIMScheduler":
        monkeypatch.setattr(scheduler, "step", functools.partial(scheduler.step, use_clipped_model_output=True))
    towards, away = (text.encode([prompt] * 2) for prompt in ("fish", ""))
    z = their_loop(load_diffusers(folder), scheduler, towards, away, normal(0, index, (1, 16, 16), 0), 5, 2.0)
    expected = ((z[:, 0] + 1) * 127.5).round().clamp(0, 255).numpy()
    drawn = np.stack([grey(file) for file in report.files])
    assert 30 < drawn.std() < 130
    assert np.abs(drawn - expected).max() <= 1  # a grey at the border of two


def test_without_diffusers_one_line_says_what_to_install(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("diffusers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r'pip install "glyffctl\[diffusers\]"'):
        load_diffusers(pipeline)


def test_what_trains_and_exports_does_not_take_it(pipeline: Path) -> None:
    from glyffctl.core.models.checkpoint import load_model

    with pytest.raises(ModelError, match="cannot be trained or exported"):
        load_model(pipeline)


DRAW = """
import sys
from pathlib import Path
from glyffctl.core.text import hub
from glyffctl.core.errors import GlyffError
from glyffctl.core.models.recipe import Recipe
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_model import load_prompted_model
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions

hub._TIMEOUT = 2
for name in sys.argv[1:]:
    out = Path(name.replace("/", "-") + ".png")
    asked = SampleOptions(prompts=("fish",), model=Path(name), out=out, count=1, recipe=Recipe(steps=2))
    try:
        print(finish(sample(asked)).files[0])
    except GlyffError as error:
        print(error)
"""


@pytest.mark.thorough
def test_a_name_on_the_hub(pipeline: Path, tmp_path: Path) -> None:
    root = tmp_path / "hub"
    shutil.copytree(pipeline, root / "some/pipeline")
    for name in ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "run.py"):
        (root / "some/pipeline" / name).write_bytes(b"not for us")
    for name in ("half", "shards"):
        shutil.copytree(pipeline, root / "some" / name)
    (root / "some/half" / WEIGHTS).rename(root / "some/half/unet/diffusion_pytorch_model.fp16.safetensors")
    shutil.rmtree(root / "some/shards/unet")
    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet")
    unet.save_pretrained(root / "some/shards/unet", max_shard_size="1MB")
    shutil.copytree(pipeline, root / "some/pickle")
    only_pickle(root / "some/pickle")
    (tmp_path / "runs").mkdir()

    def draw(endpoint: str, *models: str) -> list[str]:
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
        environment |= {"NO_PROXY": "127.0.0.1", "PYTHONPATH": str(Path(__file__).parents[1])}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"):
            environment.pop(name, None)
        done = subprocess.run(
            [sys.executable, "-c", DRAW, *models],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.stderr, done.returncode) == ("", 0)
        return done.stdout.splitlines()

    with serve_hub(root) as (endpoint, asked):
        models = ("some/pipeline", "some/half", "some/shards", "some/pickle", "some/nothing", "runs/typo")
        drawn, half, shards, *refused = draw(endpoint, *models)
    for other in (half, shards):
        assert np.array_equal(grey(tmp_path / other), grey(tmp_path / drawn))
    ours = [path for path in asked if "/some/pipeline/" in path]
    assert sum("-of-" in path for path in asked) > 1
    assert drawn == "some-pipeline.png"
    assert read_settings(tmp_path / drawn)["model"] == "some/pipeline"
    assert "no safetensors weights" in refused[0]
    assert "there is no model some/nothing" in refused[1]
    assert "no model at runs/typo" in refused[2]
    assert len(refused) == 3
    assert sum(path.endswith(f"/{WEIGHTS}") for path in asked) in (1, 2)  # HEAD and GET, once
    assert not [path for path in asked if path.endswith((".bin", ".py")) or "typo" in path]
    assert ours and not [path for path in ours if "fp16" in path]
    # What was downloaded draws the same without a hub, and what was not is out of reach.
    first = (tmp_path / drawn).read_bytes()
    again, *_, other = draw("http://127.0.0.1:9", "some/pipeline", "some/half", "some/shards", "some/other")
    assert (tmp_path / again).read_bytes() == first
    assert "`hf download some/other --local-dir FOLDER`" in other and "`model`" in other

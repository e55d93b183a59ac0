"""Models of diffusers: their own loop and ours draw the same, and what we do not know is refused in one line."""

import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from glyffctl.core.denoiser import Denoiser, clamp, guide
from glyffctl.core.diffusers_model import DiffusersModel, load_diffusers
from glyffctl.core.diffusers_settings import GLYFFUSER_ENCODER, read_pipeline
from glyffctl.core.errors import EmbeddingError, ModelError, UsageError
from glyffctl.core.generate import Recipe, generate
from glyffctl.core.images import read_settings
from glyffctl.core.noise import normal
from glyffctl.core.samplers import SAMPLERS
from glyffctl.core.text import TextBatch, load_encoder
from glyffctl.workflows.events import Note, finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, again
from tests.stand_ins import make_t5, serve_hub
from tests.toys import captions, in_double

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WIDTH = 64
SMALL = {
    "sample_size": 16,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (32, 32),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 8,
}
# The glyffuser's, as its notebook has it, with a quarter or less of each width.
AUTHOR = SMALL | {
    "sample_size": 32,
    "layers_per_block": 2,
    "block_out_channels": (32, 64, 128, 128),
    "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    "addition_embed_type": "text",
    "encoder_hid_dim": WIDTH,
    "encoder_hid_dim_type": "text_proj",
}


def make_unet(folder: Path, config: dict[str, Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        UNet2DConditionModel(**config).save_pretrained(folder)


def write_json(path: Path, plain: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain))


def edit_json(path: Path, **values: object) -> None:
    write_json(path, json.loads(path.read_text()) | values)


def make_pipeline(
    folder: Path,
    config: dict[str, Any] = SMALL,
    scheduler: str = "DPMSolverMultistepScheduler",
    pipeline: str = "SomePipeline",
    **settings: object,
) -> Path:
    """Write a pipeline with random weights; what its scheduler's JSON does not say is left to the scheduler."""
    make_unet(folder / "unet", config)
    write_json(folder / "scheduler/scheduler_config.json", {"_class_name": scheduler, **settings})
    parts = {"scheduler": ["diffusers", scheduler], "unet": ["diffusers", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": "0.28.0", **parts})
    return folder


def add_encoder(folder: Path, width: int = WIDTH) -> None:
    """Give a pipeline a text encoder, in the two folders that diffusers puts it in."""
    make_t5(folder / "text_encoder", width)
    (folder / "tokenizer").mkdir()
    for file in (folder / "text_encoder").glob("tokenizer*"):
        file.rename(folder / "tokenizer" / file.name)
    edit_json(
        folder / "model_index.json",
        text_encoder=["transformers", "T5EncoderModel"],
        tokenizer=["transformers", "T5TokenizerFast"],
    )


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pipeline with its own encoder; tests only read it."""
    folder = make_pipeline(tmp_path_factory.mktemp("models") / "pipeline")
    add_encoder(folder)
    return folder


@pytest.fixture
def copy(pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pipeline, tmp_path / "copy"))


CLASSES = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmsolver_multistep"}
LIKE = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmpp-2m"}


def scheduler_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """diffusers' own scheduler for a pipeline, in float64."""
    plain = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    name = plain.pop("_class_name")
    return getattr(in_double(monkeypatch, CLASSES[name]), name)(**plain)


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing", None])
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "table",
    [
        {},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 400},
        {"trained_betas": [0.001 * k for k in range(1, 51)], "num_train_timesteps": 50},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ],
)
def test_levels_are_those_of_the_scheduler(
    table: dict[str, Any], name: str, spacing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = table | ({"timestep_spacing": spacing} if spacing else {})
    unet = tmp_path / "unet"
    write_json(unet / "config.json", {"_class_name": "UNet2DConditionModel", **SMALL})
    (unet / "diffusion_pytorch_model.safetensors").touch()
    write_json(tmp_path / "scheduler/scheduler_config.json", {"_class_name": name, **settings})
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", name]}
    write_json(tmp_path / "model_index.json", {"_class_name": "Some", **parts})
    ours = read_pipeline(tmp_path).schedule
    theirs = scheduler_of(tmp_path, monkeypatch)
    count = len(ours.sigmas)
    # At the end of a rescaled table theirs is 0, or 2⁻²⁴ as ours always is.
    torch.testing.assert_close(ours.alpha_bar()[:-1], theirs.alphas_cumprod[:-1], rtol=1e-9, atol=0)
    # Where T/n is not whole, theirs of "trailing" turns on the rounding of a half; the last levels of a rescaled table
    # fall, and so not all can be visited.
    more = (
        () if spacing == "trailing" else (7, 33) if "rescale_betas_zero_snr" in table else (7, count // 3, count // 2)
    )
    for n in (1, 2, 5, 10, 25, *more):
        theirs.set_timesteps(n)
        steps = ours.steps(n)
        assert steps[:-1].tolist() == ours.sigmas[theirs.timesteps[:n]].tolist()
        assert steps[-1] == 0


def test_more_steps_than_levels_differ(tmp_path: Path) -> None:
    schedule = load_diffusers(make_pipeline(tmp_path, num_train_timesteps=20)).schedule
    assert len(schedule.steps(19)) == 20
    with pytest.raises(UsageError, match="--steps 20"):
        schedule.steps(20)
    with pytest.raises(UsageError, match="between 1 and 20"):
        schedule.steps(21)


def their_loop(
    model: DiffusersModel,
    scheduler: Any,
    text: TextBatch,
    negative: TextBatch,
    z: Tensor,
    steps: int,
    guidance: float,
) -> Tensor:
    """diffusers' own way to draw: its network, its scheduler, guidance on what the network predicts."""
    unet = model.network.unet
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


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("case", LOOPS)
@torch.no_grad()
def test_draws_what_diffusers_draws(
    case: str, guidance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, scheduler, settings = LOOPS[case]
    model = load_diffusers(make_pipeline(tmp_path, scheduler=scheduler, **settings))
    assert model.settings.sampler == sampler
    text, index = captions(2, WIDTH), torch.arange(2)
    negative = TextBatch(torch.ones(2, 1, WIDTH, dtype=torch.float64), torch.ones(2, 1, dtype=torch.bool))
    steps, shape = 10, (1, 16, 16)
    sigmas = model.schedule.steps(steps)
    scale = float((1 + sigmas[0] ** 2).sqrt())
    eps = normal(0, index, shape, 0, dtype=torch.float64)

    def draw(i: int) -> Tensor:
        return normal(0, index, shape, 16 + i, dtype=torch.float64)

    # In float64: the same numbers.
    model.network.double()
    denoise = guide(Denoiser(model.network, model.prediction), text, negative, guidance)
    if model.clip is not None:
        denoise = clamp(denoise, model.clip)
    *_, last = SAMPLERS[sampler](denoise, eps * scale, sigmas, draw)
    theirs = scheduler_of(tmp_path, monkeypatch)
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
    text, negative = (TextBatch(batch.tokens.float(), batch.mask) for batch in (text, negative))
    *_, last = generate(
        Denoiser(model.network, model.prediction),
        model.schedule,
        Recipe(sampler=sampler, steps=steps, guidance=guidance),
        text,
        negative,
        index,
        16,
        clip=model.clip,
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
    finish(sample(again(report.files[3], out=tmp_path / "again.png")))
    assert (tmp_path / "again.png").read_bytes() == report.files[3].read_bytes()


def test_the_glyffuser_s_settings(tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path, AUTHOR | {"encoder_hid_dim": 512}, pipeline="GlyffuserPipeline")
    settings = read_pipeline(folder)
    assert (settings.low, settings.clip, settings.prediction, settings.sampler) == (0.0, None, "eps", "dpmpp-2m")
    assert (settings.encoder, settings.text_width) == GLYFFUSER_ENCODER
    assert settings.max_tokens == 256
    assert (settings.schedule.spacing, len(settings.schedule.sigmas)) == ("linspace", 1000)


def test_its_own_encoder_is_read_and_the_empty_prompt_is_text(pipeline: Path, tmp_path: Path) -> None:
    events = []
    workflow = sample(options(pipeline, tmp_path / "x.png", "fish", "", recipe=Recipe(steps=4, guidance=4.0)))
    for event in workflow:
        events.append(event)
    assert any(
        isinstance(event, Note)
        and "SomePipeline, a pipeline of diffusers, whose own scheduler is like --sampler dpmpp-2m" in event.text
        for event in events
    )
    settings = read_settings(tmp_path / "x.png")
    assert settings["encoder"] == str(pipeline / "text_encoder")
    assert settings["model"] == str(pipeline)
    encoder = load_encoder(pipeline / "text_encoder", reads_empty=True)
    assert encoder.encode(["", "fish"]).mask.sum(1).tolist() == [1, len(encoder.tokenize(["fish"])[0])]
    assert encoder.encode([""]).tokens.any()


@torch.no_grad()
def test_a_picture_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    """Networks of this kind see the padding where they pool text; ours gives them none."""
    network = load_diffusers(make_pipeline(tmp_path, AUTHOR)).network
    z, label = normal(0, torch.arange(4), (1, 32, 32), 0), torch.zeros(4)
    text = captions(4, WIDTH)
    text = TextBatch(text.tokens.float(), text.mask)
    together = network(z, label, network.encode_text(text))
    for row in range(4):
        length = int(text.mask[row].sum())
        alone = TextBatch(text.tokens[row : row + 1, :length], text.mask[row : row + 1, :length])
        answer = network(z[row : row + 1], label[:1], alone)
        torch.testing.assert_close(answer[0], together[row], rtol=0, atol=2e-5 * float(together.abs().max()))
    padded = network.unet(z[:1], 500.0, encoder_hidden_states=text.tokens[:1]).sample
    bare = network.unet(z[:1], 500.0, encoder_hidden_states=text.tokens[:1, :1]).sample
    assert float((padded - bare).abs().max()) > 1e-3, "this test shows nothing: padding is not seen"


def test_t_is_the_place_in_the_table(pipeline: Path) -> None:
    model = load_diffusers(pipeline)
    sigmas = model.schedule.sigmas
    for dtype in (torch.float32, torch.float64):
        label = (sigmas.log() / 4).to(dtype)
        assert torch.equal(model.network.timestep(label), torch.arange(1000, dtype=torch.float64))
    between = (sigmas[500] * sigmas[501]).sqrt().log() / 4
    assert float(model.network.timestep(between[None])) == pytest.approx(500.5, abs=1e-6)
    ends = torch.tensor([1e-9, 1e9], dtype=torch.float64).log() / 4
    assert model.network.timestep(ends).tolist() == [0, 999]


def test_colours_are_averaged(tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path / "rgb", SMALL | {"in_channels": 3, "out_channels": 3})
    add_encoder(folder)
    report = finish(sample(options(folder, tmp_path / "out", "fish", batch=1)))
    model = load_diffusers(folder)
    text = load_encoder(folder / "text_encoder").encode(["fish"])
    *_, last = generate(
        Denoiser(model.network, "eps"), model.schedule, Recipe(steps=6, guidance=1.0), text, text, torch.tensor([1]),
        16, channels=3, clip=None,
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
    with pytest.raises(EmbeddingError, match=r"48 numbers, this model reads 64"):
        finish(sample(options(tmp_path / "bare", tmp_path / "x.png", "fish", encoder=str(wrong))))


@pytest.mark.parametrize("layout", ["parts", "beside"])
@pytest.mark.parametrize("name", CLASSES)
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

    text = load_encoder(encoder, reads_empty=True)
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


def test_without_a_scheduler_what_is_taken_is_told(pipeline: Path, tmp_path: Path) -> None:
    make_unet(tmp_path / "bare", SMALL)
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "scheduler": [None, None]}
    write_json(tmp_path / "named/model_index.json", {"_class_name": "SomePipeline", **parts})
    make_unet(tmp_path / "named/unet", SMALL)
    for folder in ("bare", "named"):
        assert "without a scheduler: taken to be DDPM's" in load_diffusers(tmp_path / folder).history
    assert "without a scheduler" not in load_diffusers(pipeline).history


def test_captions_are_as_long_as_the_tokenizer_says(copy: Path) -> None:
    for limit, tokens in ((512, 256), (77, 77), (10**30, 256), (1, 256), ("77", 256)):
        edit_json(copy / "tokenizer/tokenizer_config.json", model_max_length=limit)
        assert read_pipeline(copy).max_tokens == tokens


@pytest.mark.parametrize("settings", [{"prediction_type": "v_prediction"}, {"thresholding": True}, {"beta_end": 0.01}])
def test_what_changes_a_drawing_changes_the_identity(settings: dict[str, Any], pipeline: Path, copy: Path) -> None:
    assert load_diffusers(copy).identity == load_diffusers(pipeline).identity
    _scheduler(**settings)(copy)
    assert load_diffusers(copy).identity != load_diffusers(pipeline).identity


def test_a_setting_of_other_versions_that_is_off_is_passed_over(pipeline: Path, copy: Path) -> None:
    _network(something_new=None)(copy)
    _scheduler(something_newer=False)(copy)
    assert load_diffusers(copy).identity == load_diffusers(pipeline).identity
    _scheduler(something_newer=0)(copy)
    with pytest.raises(ModelError, match="unknown setting 'something_newer'"):
        load_diffusers(copy)


def _network(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "unet/config.json", **values)


def _scheduler(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "scheduler/scheduler_config.json", **values)


def _index(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "model_index.json", **values)


def _without(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "unet/config.json"
        write_json(path, {key: value for key, value in json.loads(path.read_text()).items() if key != name})

    return edit


def _text(file: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / file).write_text(text)

    return edit


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def _only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.bin")


def _cut(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def _weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        save_file(weights, folder / WEIGHTS)

    return edit


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_network(down_block_types=["DownBlock2D", "KDownBlock2D"]), "unknown block 'KDownBlock2D'"),
        (_network(up_block_types=["UpBlock2D", 3]), "unknown block 3"),
        (_network(down_block_types="DownBlock2D"), "list of 1 to 8 blocks"),
        (_network(down_block_types=["DownBlock2D"] * 1000), "list of 1 to 8 blocks"),
        (_network(mid_block_type="UNetMidBlock2DSimpleCrossAttn"), "mid_block_type is 'UNetMidBlock2DSimpleCrossAttn'"),
        (_network(addition_embed_type="text_time"), "addition_embed_type is 'text_time'"),
        (_network(class_embed_type="timestep"), "class_embed_type is 'timestep'; known is None"),
        (_network(sample_size=None), "sample_size is None"),
        (_network(sample_size=[16, 24]), "square"),
        (_network(sample_size=10**9), "sample_size"),
        (_network(in_channels=4), "in_channels is 4"),
        (_network(out_channels=3), "1 channels go in and 3 come out"),
        (_network(block_out_channels=[10**9, 32]), "block_out_channels"),
        (_network(block_out_channels=[32, 33]), "no network is built like that"),
        (_network(block_out_channels=[32]), "no network is built like that"),
        (_network(layers_per_block=10**9), "layers_per_block"),
        (_network(cross_attention_dim="64"), "cross_attention_dim is '64'"),
        (_network(use_linear_projection=1), "use_linear_projection is 1"),
        (_network(something_new=True), "unknown setting 'something_new'"),
        (_network(_class_name="FluxTransformer2DModel"), "'FluxTransformer2DModel'"),
        (_network(act_fn="x" * 10_000), "act_fn"),
        (_without("_class_name"), "not a UNet2DConditionModel"),
        (_without("sample_size"), "does not say sample_size"),
        (_without("cross_attention_dim"), "does not say cross_attention_dim"),
        (_network(layers_per_block=2), "weights do not fit"),
        (_text("unet/config.json", "{"), "not JSON"),
        (_text("unet/config.json", "[]"), "not a JSON object"),
        (_scheduler(_class_name="FlowMatchEulerDiscreteScheduler"), "unknown scheduler"),
        (_scheduler(prediction_type="flow_prediction"), "prediction_type is 'flow_prediction'"),
        (_scheduler(prediction_type=["epsilon"]), "prediction_type is"),
        (_scheduler(beta_schedule="laplace"), "beta_schedule is 'laplace'"),
        (_scheduler(beta_start="NaN"), "beta_start"),
        (_scheduler(beta_start=2.0), "beta_start"),
        (_scheduler(num_train_timesteps=10**8), "num_train_timesteps"),
        (_scheduler(trained_betas=[0.1, 0.2]), "trained_betas must be 1000 numbers"),
        (_scheduler(trained_betas=[0.9999] * 1000), "noise levels do not rise"),
        (_scheduler(timestep_spacing="other"), "timestep_spacing"),
        (_scheduler(use_karras_sigmas=True), "use_karras_sigmas is True"),
        (_scheduler(final_sigmas_type="sigma_min"), "final_sigmas_type"),
        (_scheduler(thresholding=True, sample_max_value=1.5), "sample_max_value"),
        (_scheduler(clip_sample=True), "unknown setting 'clip_sample'"),
        (_scheduler(variance_type="learned"), "variance_type"),
        (_scheduler(algorithm_type=3), "algorithm_type"),
        (_index(vae=["diffusers", "AutoencoderKL"]), "a part 'vae'"),
        (_index(unet=["diffusers", "UNet3DConditionModel"]), "no UNet2DConditionModel"),
        (_index(unet=3), "library and a class"),
        (_index(_class_name=None), "_class_name"),
        (_text("model_index.json", "[" * 100_000), "not JSON"),
        (lambda folder: (folder / "scheduler/scheduler_config.json").unlink(), "get the folder again, whole"),
        (lambda folder: (folder / "text_encoder/model.safetensors").unlink(), "no safetensors weights of its text"),
        (_only_pickle, "other formats can run code when they are loaded: where you trust them, load them with"),
        (_cut, "cut short"),
        (_text(WEIGHTS, "hello"), "not a safetensors file"),
        (_weights(lambda weights: weights.popitem()), "weights do not fit"),
        (_weights(lambda weights: weights.update(more=torch.zeros(3))), "the first more"),
        (_weights(lambda weights: weights["conv_in.weight"].fill_(float("nan"))), "not finite"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_in_one_line(damage: Callable[[Path], None], says: str, copy: Path) -> None:
    damage(copy)
    with pytest.raises(ModelError) as caught:
        finish(sample(options(copy, copy.parent / "x.png", "fish")))
    message = str(caught.value)
    assert says in message
    assert str(copy) in message
    assert "\n" not in message and len(message) < 600
    assert not (copy.parent / "x.png").exists()


def test_without_diffusers_one_line_says_what_to_install(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("diffusers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r'pip install "glyffctl\[diffusers\]"'):
        load_diffusers(pipeline)


def test_other_commands_say_that_they_do_not_take_it(pipeline: Path) -> None:
    from glyffctl.core.checkpoint import load_model

    with pytest.raises(ModelError, match="only `glyffctl sample`"):
        load_model(pipeline)


DRAW = """
import sys
from pathlib import Path
from glyffctl.core import hub
from glyffctl.core.errors import GlyffError
from glyffctl.core.generate import Recipe
from glyffctl.workflows.events import finish
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


def test_a_name_on_the_hub(pipeline: Path, tmp_path: Path) -> None:
    root = tmp_path / "hub"
    shutil.copytree(pipeline, root / "some/pipeline")
    for name in ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "run.py"):
        (root / "some/pipeline" / name).write_bytes(b"not for us")
    shutil.copytree(pipeline, root / "some/pickle")
    _only_pickle(root / "some/pickle")
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
        drawn, *refused = draw(endpoint, "some/pipeline", "some/pickle", "some/nothing", "runs/typo")
    assert drawn == "some-pipeline.png"
    assert read_settings(tmp_path / drawn)["model"] == "some/pipeline"
    assert "no safetensors weights" in refused[0]
    assert "there is no model some/nothing" in refused[1]
    assert "no model at runs/typo" in refused[2]
    assert len(refused) == 3
    assert sum(path.endswith(f"/{WEIGHTS}") for path in asked) in (1, 2)  # HEAD and GET, once
    assert not [path for path in asked if path.endswith((".bin", ".py")) or "fp16" in path or "typo" in path]
    # What was downloaded draws the same without a hub, and what was not is out of reach.
    first = (tmp_path / drawn).read_bytes()
    again, other = draw("http://127.0.0.1:9", "some/pipeline", "some/other")
    assert (tmp_path / again).read_bytes() == first
    assert "`hf download some/other --local-dir FOLDER`" in other and "--model FOLDER" in other

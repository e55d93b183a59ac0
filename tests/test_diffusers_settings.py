"""What the settings of a model of diffusers mean: the scheduler's levels, and what is refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import ModelError
from glyffctl.core.interop.diffusers_model import load_diffusers
from glyffctl.core.interop.diffusers_settings import GLYFFUSER_ENCODER, read_pipeline
from glyffctl.workflows.events import finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions
from tests.stand_in_pipelines import (
    AUTHOR,
    CLASSES,
    SMALL,
    WEIGHTS,
    WIDTH,
    edit_json,
    make_pipeline,
    make_unet,
    only_pickle,
    scheduler_of,
    write_json,
)

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def copy(pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pipeline, tmp_path / "copy"))


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
    rough = read_pipeline(tmp_path).schedule
    theirs = scheduler_of(tmp_path, monkeypatch)
    ours = read_pipeline(tmp_path).schedule
    # diffusers holds β in float32; a rescaled table goes through ᾱ, which has fewer digits of the lowest σ.
    # How few depends on the processor: 1.2e-4 was seen.
    torch.testing.assert_close(rough.sigmas, ours.sigmas, rtol=2e-4, atol=0)
    assert torch.equal(rough.sigmas.argsort(), ours.sigmas.argsort())
    count = len(ours.sigmas)
    # At the end of a rescaled table theirs is 0, or 2⁻²⁴ as ours always is.
    torch.testing.assert_close(ours.alpha_bar()[:-1], theirs.alphas_cumprod[:-1], rtol=1e-9, atol=0)
    # Where T/n is not whole, theirs of "trailing" turns on the rounding of a half; the last levels of a rescaled table
    # fall, and so not all can be visited.
    more = (
        ()
        if spacing == "trailing"
        else (7, 30, 33)  # 30: levels of "linspace" that lie at a half
        if "rescale_betas_zero_snr" in table
        else (7, count // 3, count // 2, min(30, count // 2))
    )
    for n in (1, 2, 5, 10, 25, *more):
        theirs.set_timesteps(n)
        steps = ours.steps(n)
        assert steps[:-1].tolist() == ours.sigmas[theirs.timesteps[:n]].tolist()
        assert steps[-1] == 0


@pytest.mark.parametrize("table", ["sigmoid", "laplace"])
def test_tables_that_one_scheduler_alone_has(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_pipeline(tmp_path, scheduler="DDPMScheduler", beta_schedule=table)
    ours = load_diffusers(folder).schedule.alpha_bar()
    torch.testing.assert_close(ours, scheduler_of(folder, monkeypatch).alphas_cumprod.double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"mid_block_type": None},
        {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"},
        {"down_block_types": ("AttnDownBlock2D", "SimpleCrossAttnDownBlock2D")},
        {"sample_size": (16, 16), "layers_per_block": (1, 1), "attention_head_dim": (8, 16)},
    ],
)
def test_networks_of_other_blocks_answer_as_in_diffusers(change: dict[str, Any], tmp_path: Path) -> None:
    make_unet(tmp_path, SMALL | change)
    model = load_diffusers(tmp_path)
    z, tokens = torch.randn(2, 1, 16, 16), torch.randn(2, 3, WIDTH)
    text = Condition(tokens, torch.ones(2, 3, dtype=torch.bool))
    sigma = model.schedule.sigmas[[100, 700]]
    with torch.no_grad():
        unet = UNet2DConditionModel.from_pretrained(tmp_path).eval()
        expected = unet(z, torch.tensor([100, 700]), encoder_hidden_states=tokens).sample
        answer = model.network(z, sigma, text)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_numbers_outside_the_weights_are_missed(tmp_path: Path) -> None:
    """Of some blocks, diffusers does not save all."""
    kinds = {"down_block_types": ("KDownBlock2D",) * 2, "up_block_types": ("KUpBlock2D",) * 2}
    make_unet(tmp_path, SMALL | kinds | {"mid_block_type": None})
    with pytest.raises(ModelError, match=r"config\.json.*not among its weights"):
        load_diffusers(tmp_path)


def test_more_steps_than_levels_differ(tmp_path: Path) -> None:
    schedule = load_diffusers(make_pipeline(tmp_path, num_train_timesteps=20)).schedule
    assert len(schedule.steps(19)) == 20
    with pytest.raises(ValueError, match="`steps` 20"):
        schedule.steps(20)
    with pytest.raises(ValueError, match="between 1 and 20"):
        schedule.steps(21)


def test_the_glyffuser_s_settings(tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path, AUTHOR | {"encoder_hid_dim": 512}, pipeline="GlyffuserPipeline")
    settings = read_pipeline(folder)
    assert (settings.low, settings.clip, settings.prediction, settings.sampler) == (0.0, None, "eps", "dpmpp-2m")
    assert (settings.encoder, settings.text_width) == GLYFFUSER_ENCODER
    assert settings.max_tokens == 256
    assert (settings.schedule.spacing, len(settings.schedule.sigmas)) == ("linspace", 1000)


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
    "settings",
    [
        {"prediction_type": "v_prediction"},
        *(pytest.param(each, marks=pytest.mark.thorough) for each in ({"thresholding": True}, {"beta_end": 0.01})),
    ],
)
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


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_network(down_block_types=["DownBlock2D", "KDownBlock2D"]), "weights do not fit"),
        (_network(up_block_types=["UpBlock2D", 3]), "diffusers builds nothing like that"),
        (_network(down_block_types="DownBlock2D"), "down_block_types"),
        (_network(down_block_types=["DownBlock2D"] * 1000), "down_block_types"),
        (_network(mid_block_type="UNetMidBlock2DSimpleCrossAttn"), "weights do not fit"),
        (_network(addition_embed_type="text_time"), "diffusers builds nothing like that"),
        (_network(class_embed_type="timestep"), "class_embed_type is 'timestep'"),
        (_network(num_class_embeds=10), "num_class_embeds is 10"),
        (_network(time_cond_proj_dim=32), "time_cond_proj_dim is 32"),
        (_network(attention_type="gated"), "attention_type is 'gated'"),
        (_network(mid_block_scale_factor=0), "mid_block_scale_factor is 0"),
        (_network(norm_eps=float("nan")), "norm_eps is nan"),
        (_network(norm_eps=10**299), "norm_eps is 1000"),
        (_network(attention_head_dim=[[8], {}]), "attention_head_dim"),
        (_network(encoder_hid_dim="wide"), "unet/config.json"),
        (_network(norm_num_groups=0), "diffusers builds nothing like that"),
        (_network(sample_size=None), "does not say sample_size"),
        (_network(sample_size=[]), "sample_size is []"),
        (_network(sample_size=[16.5, 16.5]), "diffusers builds nothing like that"),
        (_network(sample_size=[16, 24]), "square"),
        (_network(sample_size=10**9), "sample_size"),
        (_network(in_channels=4), "in_channels is 4"),
        (_network(out_channels=3), "1×16×16 go in and 3×16×16 come out"),
        (_network(block_out_channels=[10**9, 32]), "block_out_channels"),
        (_network(block_out_channels=[32, 33]), "diffusers builds nothing like that"),
        (_network(block_out_channels=[32]), "block_out_channels"),
        (_network(layers_per_block=10**9), "layers_per_block"),
        (_network(cross_attention_dim="64"), "cross_attention_dim is '64'"),
        (_network(use_linear_projection=1), "use_linear_projection is 1"),
        (_network(something_new=True), "unknown setting 'something_new'"),
        (_network(_class_name="FluxTransformer2DModel"), "'FluxTransformer2DModel'"),
        (_network(act_fn="x" * 10_000), "unet/config.json"),
        (_without("_class_name"), "not a UNet2DConditionModel"),
        (_without("sample_size"), "does not say sample_size"),
        (_without("cross_attention_dim"), "does not say cross_attention_dim"),
        (_network(layers_per_block=2), "weights do not fit"),
        (_text("unet/config.json", "{"), "not JSON"),
        (_text("unet/config.json", "[]"), "not a JSON object"),
        (_scheduler(_class_name="FlowMatchEulerDiscreteScheduler"), "unknown scheduler"),
        (_scheduler(prediction_type="flow_prediction"), "prediction_type is 'flow_prediction'"),
        (_scheduler(prediction_type=["epsilon"]), "prediction_type is"),
        (_scheduler(_class_name=["DDIMScheduler"]), "unknown scheduler"),
        (_scheduler(num_train_timesteps=[1000]), "scheduler_config.json"),
        (_scheduler(num_train_timesteps=1000.0), "scheduler_config.json"),
        (_scheduler(num_train_timesteps=None), "num_train_timesteps is None"),
        (_scheduler(steps_offset=-1), "steps_offset is -1"),
        (_scheduler(steps_offset=[1, 2]), "steps_offset is [1, 2]"),
        (_scheduler(steps_offset=0.5, timestep_spacing="leading"), "scheduler_config.json"),
        (_scheduler(use_flow_sigmas=1), "use_flow_sigmas is 1"),
        (_scheduler(lambda_min_clipped=-5.1), "lambda_min_clipped is -5.1"),
        (_scheduler(_class_name="DDIMScheduler", set_alpha_to_one=False), "set_alpha_to_one is False"),
        (_scheduler(thresholding=True, sample_max_value=0.5), "sample_max_value"),
        (_scheduler(beta_schedule="laplace"), "laplace is not implemented"),
        (_scheduler(beta_start="NaN"), "beta_start"),
        (_scheduler(beta_start=2.0), "noise levels"),
        (_scheduler(beta_start=0), "noise levels"),
        (_scheduler(num_train_timesteps=10**8), "num_train_timesteps"),
        (_scheduler(trained_betas=[0.1, 0.2]), "1,000 noise levels"),
        (_scheduler(trained_betas=[[0.1, 0.2]] * 1000), "scheduler_config.json"),
        (_scheduler(trained_betas={"a": 1}), "scheduler_config.json"),
        (_scheduler(trained_betas=[10**299] * 1000), "scheduler_config.json"),
        (_scheduler(trained_betas=[True] * 1000), "noise levels"),
        (_scheduler(trained_betas=[0.9999] * 1000), "noise levels"),
        (_scheduler(timestep_spacing="other"), "other is not supported"),
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
        (only_pickle, "other formats can run code when they are loaded: where you trust them, load them with"),
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
        finish(sample(SampleOptions(prompts=("fish",), model=copy, out=copy.parent / "x.png")))
    message = str(caught.value)
    assert says in message
    assert str(copy) in message
    assert "\n" not in message and len(message) < 600
    assert not (copy.parent / "x.png").exists()

"""`glyffctl export`: other programs draw what the model draws, with the very program that the exported README gives."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.errors import GlyffError, ModelError, OutputError, UsageError
from glyffctl.core.interop.diffusers_export import (
    as_unet,
    check_config,
    compare,
    diffusers_name,
    scheduler_config,
    unet_config,
    unet_weights,
)
from glyffctl.core.interop.exported import load_exported
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.models.checkpoint import EXPORT_FILE, MODEL_FILE, Model, load_model, save_model
from glyffctl.core.models.config import parse, read_preset
from glyffctl.core.models.generate import generate
from glyffctl.core.models.recipe import ONE_PASS, Recipe
from glyffctl.core.networks.network import build_network
from glyffctl.core.networks.unet import UNet, UNetConfig
from glyffctl.core.noise import normal
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows.events import finish
from glyffctl.workflows.export import ExportOptions, ExportReport, export
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from tests.conftest import Workshop, follow, of_kind
from tests.test_unet import shaken

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPTS = ["gold", "river, stream; water", ""]
STEPS = 10


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with weights that draw with contrast, as hardly trained ones do not; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "shaken"
    folder.mkdir()
    model = load_model(tiny_run)
    shaken(as_unet(model.network))
    save_model(folder / "model.safetensors", model)
    return folder


@pytest.fixture(scope="module")
def onnx(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return finish(export(ExportOptions(model=run, format="onnx", out=tmp_path_factory.mktemp("exports") / "onnx")))


@pytest.fixture(scope="module")
def diffusers(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    out = tmp_path_factory.mktemp("exports") / "diffusers"
    return finish(export(ExportOptions(model=run, format="diffusers", out=out)))


def texts(model: Model) -> Condition:
    return load_encoder(model.encoder.name, max_tokens=model.encoder.max_tokens).encode(PROMPTS)


def drawn(model: Model, noise_seeds: Tensor, prompt: str, recipe: Recipe | None = None) -> Tensor:
    """What `sample` draws before it is rounded to greys: by `recipe`, or as by default in `STEPS` steps."""
    encoder = load_encoder(model.encoder.name, max_tokens=model.encoder.max_tokens)
    count = len(noise_seeds)
    *_, last = generate(
        Denoiser(model.network, model.prediction),
        model.schedule,
        recipe or replace(model.recipe, steps=STEPS),
        encoder.encode([prompt] * count),
        Condition.none(count, encoder.width),
        noise_seeds,
        model.codec.shape,
    )
    return last.x


def their_drawing(folder: Path, noise: Tensor, prompt: str, settings: str = f", steps={STEPS}") -> Tensor:
    """What the program in an exported README draws from `noise`, in a process that knows nothing of glyffctl."""
    [program] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    made = folder.parent / "made"
    made.mkdir(exist_ok=True)
    np.save(made / "noise.npy", noise.numpy())
    given = f"import numpy as np\nnoise = np.load({str(made / 'noise.npy')!r})\n"
    if "import torch" in program:
        given += "noise = torch.from_numpy(noise)\n"
    given += f"np.save({str(made / 'drawn.npy')!r}, np.asarray(draw({prompt!r}, noise{settings})))\n"
    ends = f"assert pixels.shape == (4, 32, 32) and np.asarray(pixels).std() > {20 if settings else 0}\n"
    ends += "import sys\nassert 'glyffctl' not in sys.modules\n"
    if "import torch" not in program:
        ends += "assert 'torch' not in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-c", program + given + ends],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Image.open(folder / "lithium.png") as image:
        assert image.size == (4 * 32, 32)
    return torch.from_numpy(np.load(made / "drawn.npy"))


@pytest.mark.thorough
def test_onnx_files(onnx: ExportReport, run: Path) -> None:
    assert {"denoiser.onnx", "text_encoder.onnx", "README.md", EXPORT_FILE} < {file.name for file in onnx.files}
    assert (onnx.out / "tokenizer" / "tokenizer.json").is_file()
    about = json.loads((onnx.out / EXPORT_FILE).read_text(encoding="utf-8"))
    model = load_model(run)
    assert about["weights"] == model.identity
    assert about["schedule"]["sigmas"] == model.schedule.sigmas.tolist()
    assert about["picture"] == {"size": 32, "black": -1, "white": 1}
    assert str(model.encoder.name) not in (onnx.out / EXPORT_FILE).read_text(encoding="utf-8")
    assert onnx.difference is not None and onnx.difference < 1e-4


@pytest.mark.thorough
@torch.no_grad()
def test_onnx_answers_as_the_network_does(onnx: ExportReport, run: Path) -> None:
    """In any batch and length, at every noise level, with and without captions."""
    model = load_model(run)
    text = texts(model)
    session = onnxruntime.InferenceSession(onnx.out / "denoiser.onnx", providers=["CPUExecutionProvider"])
    denoiser = Denoiser(model.network, model.prediction)
    worst = 0.0
    for count, length, noise in [(3, text.mask.shape[1], 0.05), (1, 1, 0.5), (2, 3, 2.0), (5, 9, 20.0), (1, 40, 150.0)]:
        index = torch.arange(count) % 3
        tokens = torch.zeros(count, length, model.text_width)
        mask = torch.zeros(count, length, dtype=torch.bool)
        most = min(length, text.mask.shape[1])
        tokens[:, :most], mask[:, :most] = text.tokens[index, :most], text.mask[index, :most]
        x = normal(1, torch.arange(count), (1, 32, 32), 0) * (1 + noise**2) ** 0.5
        sigma = torch.full((count,), noise) * torch.linspace(1, 1.5, count)
        expected = denoiser(x, sigma, model.network.encode(Condition(tokens, mask)))
        inputs = {"x": x, "sigma": sigma, "tokens": tokens, "mask": mask}
        answer = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        assert expected.std() > 0.01
        worst = max(worst, float(np.abs(answer - expected.numpy()).max()))
    print(f"D(x, σ): {worst:.1e}")
    assert worst < 1e-4


@pytest.mark.slow
@torch.no_grad()
def test_the_model_in_the_box_as_onnx(tmp_path: Path) -> None:
    """Prompts from none to the longest, at levels of all sizes: D(x, σ) within 1e-4 of ours."""
    model = load_model(pretrained(MODEL_FILE))
    finish(export(ExportOptions(model=pretrained(MODEL_FILE), format="onnx", out=tmp_path / "onnx")))
    encoder = load_encoder(model.encoder.name, max_tokens=model.encoder.max_tokens)
    text = encoder.encode(["", "gold", "a kind of fish", "an old name for a district in Henan province; " * 9])
    assert text.mask.sum(1).tolist()[::3] == [0, encoder.max_tokens]
    session = onnxruntime.InferenceSession(tmp_path / "onnx/denoiser.onnx", providers=["CPUExecutionProvider"])
    denoiser = Denoiser(model.network, model.prediction)
    context = model.network.encode(text)
    worst = 0.0
    for level in (0.002, 0.05, 0.5, 2.0, 20.0, 160.0):
        x = normal(1, torch.arange(4), (1, model.codec.size, model.codec.size), 0) * (1 + level**2) ** 0.5
        sigma = torch.full((4,), level)
        inputs = {"x": x, "sigma": sigma, "tokens": text.tokens, "mask": text.mask}
        answer = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        worst = max(worst, float(np.abs(answer - denoiser(x, sigma, context).numpy()).max()))
    print(f"D(x, σ): {worst:.1e}")
    assert worst < 1e-4


@pytest.mark.thorough
@torch.no_grad()
def test_onnx_reads_as_the_text_encoder_does(onnx: ExportReport, run: Path) -> None:
    encoder = load_encoder(load_model(run).encoder.name)
    session = onnxruntime.InferenceSession(onnx.out / "text_encoder.onnx", providers=["CPUExecutionProvider"])
    prompts = ["gold", "river, stream; water", "an old name for a district in present-day Henan province"]
    for some in (prompts, prompts[:1], prompts[::-1][:2]):
        text, ids = encoder.encode(some), encoder.tokenize(some)
        length = text.mask.shape[1]
        padded = np.array([row + [0] * (length - len(row)) for row in ids])
        answer = session.run(None, {"ids": padded, "mask": text.mask.numpy()})[0]
        worst = float(np.abs(answer - text.tokens.numpy()).max())
        print(f"text: {worst:.1e}")
        assert worst < 1e-4


@pytest.mark.thorough
@pytest.mark.parametrize("prompt", ["gold", ""])
def test_onnx_draws_in_numpy(onnx: ExportReport, run: Path, prompt: str) -> None:
    seeds = torch.arange(3)
    theirs = their_drawing(onnx.out, normal(0, seeds, (1, 32, 32), 0), prompt)
    ours = drawn(load_model(run), seeds, prompt)
    assert float(ours.std()) > 0.2
    worst = float((theirs - ours).abs().max())
    print(f"{STEPS} steps: {worst:.1e}")
    assert worst < 1e-3  # of 2 between black and white


@pytest.mark.slow
@pytest.mark.thorough
def test_onnx_of_what_draws_in_one_pass(generator_runs: dict[str, Path], tmp_path: Path) -> None:
    run, seeds = generator_runs["vae"], torch.arange(4)
    report = finish(export(ExportOptions(model=run, format="onnx", out=tmp_path / "onnx")))
    page = (report.out / "README.md").read_text(encoding="utf-8")
    assert "in one pass" in page and "guid" not in page
    theirs = their_drawing(report.out, normal(0, seeds, (1, 32, 32), 0), "gold", "")
    ours = drawn(load_model(run), seeds, "gold", ONE_PASS)
    assert float(ours.std()) > 0 and float((theirs - ours).abs().max()) < 1e-5


@pytest.mark.thorough
def test_diffusers_draws_by_itself(diffusers: ExportReport, run: Path) -> None:
    assert diffusers.difference is not None and diffusers.difference < 1e-5
    seeds = torch.arange(3)
    theirs = their_drawing(diffusers.out, normal(0, seeds, (1, 32, 32), 0), "river, stream; water")
    ours = drawn(load_model(run), seeds, "river, stream; water")
    worst = float((theirs - ours).abs().max())
    print(f"{STEPS} steps: {worst:.1e}")
    assert worst < 2e-3  # diffusers' table of noise levels is in float32


@pytest.mark.parametrize("name", ["linear", "cosine", "karras"])
def test_the_scheduler_has_our_levels(name: Any) -> None:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    schedule = make_schedule(name)
    scheduler = DPMSolverMultistepScheduler(**json.loads(json.dumps(scheduler_config(schedule, "v"))))
    for n in (1, 5, 20):
        scheduler.set_timesteps(n)
        torch.testing.assert_close(scheduler.sigmas.double(), schedule.steps(n), rtol=2e-3, atol=0)


@pytest.mark.parametrize("preset", ["cpu", "gpu", "glyffuser"])
def test_every_preset_is_to_be_had_in_diffusers(preset: str) -> None:
    """Names and shapes of all weights, without the weights."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        network = as_unet(build_network(parse(read_preset(preset)).network))
        other = UNet2DConditionModel(**unet_config(network))
    ours = {name: tensor.shape for name, tensor in unet_weights(network).items()}
    assert ours == {name: tensor.shape for name, tensor in other.state_dict().items()}


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        UNetConfig(size=16, patch=2, channels=(32, 64), blocks=2, attention=(1,), head_width=16, context_width=24),
        UNetConfig(size=16, patch=1, channels=(96, 64, 32), blocks=1, attention=(0,), head_width=8, context_width=24),
    ],
)
def test_the_network_in_diffusers_gives_the_same_numbers(config: UNetConfig, pooled: bool, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = shaken(UNet(replace(config, pooled_text=pooled, text_width=20)).eval().requires_grad_(False))
    file = tmp_path / "x.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in unet_weights(network).items()}, file)
    assert compare(network, unet_config(network), file) < 1e-5
    damaged = unet_weights(network)
    damaged["mid_block.attentions.0.proj_out.bias"] = damaged["mid_block.attentions.0.proj_out.bias"] + 0.1
    save_file({name: tensor.contiguous() for name, tensor in damaged.items()}, file)
    assert compare(network, unet_config(network), file) > 1e-3


@pytest.mark.parametrize("prompt", ["gold", ""])
@torch.no_grad()
def test_an_export_for_diffusers_is_read_back(diffusers: ExportReport, run: Path, prompt: str) -> None:
    """The same weights, levels and encoder, and so the same pictures."""
    ours, back = load_model(run), load_exported(diffusers.out)
    assert torch.equal(back.schedule.sigmas, ours.schedule.sigmas)
    assert (back.identity, back.images, back.encoder.max_tokens) == (
        ours.identity,
        ours.images,
        ours.encoder.max_tokens,
    )
    seeds = torch.arange(3)
    expected = drawn(ours, seeds, prompt)
    assert float(expected.std()) > 0.2
    assert float((drawn(back, seeds, prompt) - expected).abs().max()) < 1e-5


def test_sample_draws_with_an_export_for_diffusers(diffusers: ExportReport, run: Path, tmp_path: Path) -> None:
    for name, model in (("ours", run), ("theirs", diffusers.out)):
        out = tmp_path / f"{name}.png"
        asked = SampleOptions(prompts=("gold", ""), model=model, out=out, count=2, recipe=Recipe(steps=STEPS))
        finish(sample(asked))
    with Image.open(tmp_path / "ours.png") as ours, Image.open(tmp_path / "theirs.png") as theirs:
        assert ours.size == theirs.size
        assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 1  # a grey at the border of two
    finish(sample(options_from_picture(tmp_path / "theirs.png", out=tmp_path / "again.png")))
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()


def test_what_diffusers_saves_again_is_read_back(diffusers: ExportReport, tmp_path: Path) -> None:
    """With all its settings written out, in half precision and in shards; and what it has learned is kept."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    folder = Path(shutil.copytree(diffusers.out, tmp_path / "x"))
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    before = load_exported(folder).network.state_dict()["conv_in.bias"].clone()
    with torch.no_grad():
        unet.conv_in.bias += 1
    shutil.rmtree(folder / "unet")
    unet.half().save_pretrained(folder / "unet", variant="fp16", max_shard_size="100KB")
    after = load_exported(folder).network.state_dict()["conv_in.bias"]
    torch.testing.assert_close(after, before + 1, rtol=0, atol=1e-3)


def test_all_settings_of_the_network_are_known() -> None:
    """Those that `export` does not write have the values that it means, by default."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    network = UNet(UNetConfig(size=16, patch=2, channels=(32, 64), attention=(1,), head_width=16, context_width=24))
    written = unet_config(network)
    defaults = {
        name: about.default
        for name, about in inspect.signature(UNet2DConditionModel.__init__).parameters.items()
        if name not in ("self", *written)
    }
    check_config({"_class_name": "UNet2DConditionModel", **written, **defaults}, network, Path("config.json"))


@pytest.mark.parametrize(
    ("file", "values", "says"),
    [
        ("unet/config.json", {"act_fn": "gelu"}, "'act_fn' is 'gelu'"),
        ("unet/config.json", {"norm_eps": 1e-3}, "'norm_eps' is 0.001"),
        ("unet/config.json", {"something_new": True}, "'something_new' is True"),
        ("unet/config.json", {"_class_name": "UNet3DConditionModel"}, "'_class_name' is 'UNet3DConditionModel'"),
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "prediction_type is 'epsilon'"),
        ("scheduler/scheduler_config.json", {"trained_betas": None}, "trained_betas is None"),
        ("glyffctl.json", {"config": {}}, "glyffctl.json"),
        ("glyffctl.json", {"images": "many"}, "does not say how many pictures"),
        ("glyffctl.json", {"text": {"max_tokens": "64"}}, "glyffctl.json"),
        ("glyffctl.json", {"format": "onnx"}, "exported for other programs, as ONNX"),
        ("text.safetensors", {}, "text.safetensors does not exist"),
        ("unet/diffusion_pytorch_model.safetensors", {}, "has no unet/diffusion_pytorch_model.safetensors"),
        ("glyffctl.json", {}, "its glyffctl.json is missing"),
    ],
)
def test_exports_that_were_changed_are_refused(
    diffusers: ExportReport, tmp_path: Path, file: str, values: dict[str, Any], says: str
) -> None:
    folder = Path(shutil.copytree(diffusers.out, tmp_path / "x"))
    path = folder / file
    if values:
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values))
    else:
        path.unlink()
    with pytest.raises(GlyffError) as caught:
        finish(sample(SampleOptions(prompts=("gold",), model=folder, out=tmp_path / "x.png")))
    assert says in str(caught.value) and str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("codec", "says"), [({"size": 64}, "does not fit its codec"), ({"kind": "autoencoder"}, "has weights")]
)
def test_exports_with_another_codec_are_refused(
    diffusers: ExportReport, tmp_path: Path, codec: dict[str, Any], says: str
) -> None:
    folder = Path(shutil.copytree(diffusers.out, tmp_path / "x"))
    about = json.loads((folder / "glyffctl.json").read_text(encoding="utf-8"))
    about["config"]["codec"] |= codec
    (folder / "glyffctl.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=says) as caught:
        load_exported(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_many_blocks() -> None:
    assert diffusers_name("down.0.10.res.conv1.weight") == "down_blocks.0.resnets.10.conv1.weight"
    assert diffusers_name("up.1.10.transformer.self_attn.query.weight") == (
        "up_blocks.1.attentions.10.transformer_blocks.0.attn1.to_q.weight"
    )


def test_widths_that_diffusers_cannot_normalise(run: Path, tmp_path: Path) -> None:
    model = load_model(run)
    sizes = replace(as_unet(model.network).config, channels=(32, 48), head_width=16)
    config = replace(model.origin.config, network=sizes)
    odd = replace(model, network=build_network(sizes), origin=replace(model.origin, config=config))
    save_model(tmp_path / "odd.safetensors", odd)
    asked = ExportOptions(model=tmp_path / "odd.safetensors", format="diffusers", out=tmp_path / "out")
    with pytest.raises(ModelError, match=r"16 and 32.*\[32, 48\].*`format` onnx") as caught:
        finish(export(asked))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def pooled_only(run: Path, tmp_path: Path) -> Path:
    """A model that sees its text as a mean token alone."""
    model = load_model(run)
    sizes = replace(as_unet(model.network).config, cross_text=False)
    config = replace(model.origin.config, network=sizes)
    network = shaken(UNet(sizes), by=0.1)
    save_model(
        tmp_path / "pooled.safetensors", replace(model, network=network, origin=replace(model.origin, config=config))
    )
    return tmp_path / "pooled.safetensors"


def test_diffusers_has_no_network_without_cross_attention(pooled_only: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"without cross-attention.*`format` onnx"):
        finish(export(ExportOptions(model=pooled_only, format="diffusers", out=tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.thorough
def test_a_network_without_cross_attention_is_exported_as_onnx(pooled_only: Path, tmp_path: Path) -> None:
    report = finish(export(ExportOptions(model=pooled_only, format="onnx", out=tmp_path / "out")))
    assert report.difference is not None and 0 < report.difference < 1e-4


def test_only_exports_are_replaced(diffusers: ExportReport, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        finish(export(ExportOptions(model=run, format="diffusers", out=out)))
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]
    before = Path(shutil.copytree(diffusers.out, tmp_path / "before"))
    (before / "old").write_text("of an earlier export")
    report = finish(export(ExportOptions(model=run, format="diffusers", out=before)))
    assert not (before / "old").exists()
    assert sorted(before.rglob("*.*")) == [file for file in report.files if file.suffix]
    with pytest.raises(ModelError, match="exported for other programs"):
        load_model(before)


def test_an_export_that_fails_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glyffctl.workflows.export.compare", lambda *_: float("nan"))
    with pytest.raises(ModelError, match="was deleted"):
        finish(export(ExportOptions(model=run, format="diffusers", out=tmp_path / "out")))
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r'package onnxscript: pip install "glyffctl\[onnx\]"'):
        finish(export(ExportOptions(model=run, format="onnx", out=tmp_path / "out")))
    # The files for diffusers are written without it, and that they were not tried is said.
    for name in [name for name in sys.modules if name.startswith("diffusers")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    events, report = follow(export(ExportOptions(model=run, format="diffusers", out=tmp_path / "out")))
    assert report.difference is None
    assert of_kind(events, "export-untested")


def test_the_encoder_that_moved(run: Path, workshop: Workshop, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(workshop.encoder, tmp_path / "moved"))
    report = finish(export(ExportOptions(model=run, format="diffusers", out=tmp_path / "out", encoder=str(moved))))
    encoder = load_encoder(report.out / "text_encoder")
    assert encoder.fingerprint == load_encoder(workshop.encoder).fingerprint

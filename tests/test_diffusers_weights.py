"""Weights of diffusers' networks in every way that they are stored: read, or one line that says why not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from glyffctl.core.errors import GlyffError, ModelError
from glyffctl.core.interop.diffusers_model import load_diffusers
from glyffctl.core.io.diffusers_files import UNET_WEIGHTS, weight_files
from glyffctl.core.text.hub import _is_complete_pipeline, _network_weights
from glyffctl.workflows.events import finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions
from tests.stand_in_pipelines import SMALL, make_unet

# diffusers hands tensors to np.array, which numpy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

INDEX = f"{UNET_WEIGHTS}.index.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare network in one file; tests only read it."""
    folder = tmp_path_factory.mktemp("unets") / "whole"
    make_unet(folder, SMALL)
    return folder


@pytest.fixture(scope="module")
def sharded(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in shards; tests only read it."""
    folder = tmp_path_factory.mktemp("unets") / "sharded"
    UNet2DConditionModel.from_pretrained(whole).save_pretrained(folder, max_shard_size="1MB")
    assert len(list(folder.glob("*-of-*.safetensors"))) > 1
    return folder


def held(folder: Path) -> dict[str, Tensor]:
    return {name.removeprefix("unet."): tensor for name, tensor in load_diffusers(folder).network.state_dict().items()}


def stored_as(folder: Path, out: Path, change: Callable[[Tensor], Tensor]) -> Path:
    shutil.copytree(folder, out)
    save_file({name: change(t) for name, t in load_file(out / UNET_WEIGHTS).items()}, out / UNET_WEIGHTS)
    return out


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_every_kind_of_float_is_read_as_float32(whole: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    weights = load_file(whole / UNET_WEIGHTS)
    read = held(stored_as(whole, tmp_path / "x", lambda tensor: tensor.to(dtype)))
    assert read.keys() == weights.keys()
    for name, tensor in read.items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, weights[name].to(dtype).float())


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.bool, torch.complex64])
def test_quantised_weights_are_named(whole: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    folder = stored_as(whole, tmp_path / "x", lambda tensor: tensor.to(dtype))
    with pytest.raises(ModelError, match=r"is stored as [A-Z0-9]+, as in quantised models"):
        load_diffusers(folder)


def test_float64_beyond_float32_and_float8_that_is_no_number(whole: Path, tmp_path: Path) -> None:
    for name, change in (
        ("large", lambda tensor: tensor.double() + 1e300),
        ("nan", lambda tensor: tensor.fill_(float("nan")).to(torch.float8_e4m3fn)),
    ):
        with pytest.raises(ModelError, match="not finite numbers"):
            load_diffusers(stored_as(whole, tmp_path / name, change))


def test_shards_are_the_same_model(whole: Path, sharded: Path) -> None:
    assert load_diffusers(sharded).identity == load_diffusers(whole).identity


@pytest.mark.parametrize("shards", [False, True])
def test_variants_as_diffusers_writes_them(whole: Path, tmp_path: Path, shards: bool) -> None:
    half = UNet2DConditionModel.from_pretrained(whole, torch_dtype=torch.float16)
    half.save_pretrained(tmp_path / "x", variant="fp16", **({"max_shard_size": "500KB"} if shards else {}))
    names = [path.name for path in (tmp_path / "x").iterdir()]
    assert UNET_WEIGHTS not in names and (len(names) > 3) == shards
    read, weights = held(tmp_path / "x"), load_file(whole / UNET_WEIGHTS)
    assert all(torch.equal(read[name], weights[name].half().float()) for name in weights)


S = "diffusion_pytorch_model"
FP16_SHARDS = [f"{S}.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([f"{S}.fp16.safetensors", f"{S}.safetensors"], [f"{S}.safetensors"]),
        ([f"{S}.fp16.safetensors", f"{S}.bf16.safetensors"], [f"{S}.bf16.safetensors"]),
        ([f"{S}.non_ema.safetensors"], [f"{S}.non_ema.safetensors"]),
        (
            [*FP16_SHARDS, f"{S}.safetensors.index.fp16.json"],
            [f"{S}.safetensors.index.fp16.json", *FP16_SHARDS],
        ),
        (
            [f"{S}-00001-of-00001.fp16.safetensors", f"{S}.fp16.safetensors.index.json"],
            [f"{S}.fp16.safetensors.index.json", f"{S}-00001-of-00001.fp16.safetensors"],
        ),
        ([f"{S}.bin", "model.safetensors", "config.json"], []),
    ],
)  # fmt: skip
def test_which_files_are_taken(names: list[str], chosen: list[str]) -> None:
    """Here and from the hub."""
    assert weight_files(names, "x") == chosen
    assert _network_weights(["model_index.json", *(f"unet/{name}" for name in names)]) == [f"unet/{n}" for n in chosen]


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: next(folder.glob(name)).unlink()


def point(value: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        plain = json.loads((folder / INDEX).read_text())
        plain["weight_map"] = value if not isinstance(value, str) else dict.fromkeys(plain["weight_map"], value)
        (folder / INDEX).write_text(json.dumps(plain))

    return edit


def rename(old: str, *new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = next(folder.glob(old))
        for name in new:
            shutil.copy(file, folder / name)
        file.unlink()

    return edit


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (remove("*-00002-of-*"), "-00002-of-00002.safetensors, which diffusion_pytorch_model.safetensors.index.json"),
        (remove("*.index.json"), "without its index, diffusion_pytorch_model.safetensors.index.json"),
        (point("../secret.safetensors"), "which is outside its folder"),
        (point("/etc/passwd"), "which is outside its folder"),
        (point(f"{S}-00001-of-00002.safetensors"), "says it holds"),
        (point({}), "weight_map"),
        (point([1]), "weight_map"),
        (point({"a": 3}), "weight_map"),
        (lambda folder: (folder / INDEX).write_text("["), "not JSON"),
        (lambda folder: os.truncate(next(folder.glob("*-00001-of-*")), 900), "cut short"),
    ],
)
def test_damaged_shards_are_named(sharded: Path, tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    folder = Path(shutil.copytree(sharded, tmp_path / "x"))
    assert _is_complete_pipeline(folder)
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_diffusers(folder)
    assert says in str(caught.value) and "\n" not in str(caught.value) and "can run code" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            rename(UNET_WEIGHTS, f"{S}.ema.safetensors", f"{S}.other.safetensors"),
            "kinds of weights, ema, other",
        ),
        (rename(UNET_WEIGHTS, "unet.safetensors"), "if unet.safetensors holds the weights of its network"),
        (rename(UNET_WEIGHTS, f"{S}.bin"), f"only {S}.bin; weights in other formats can run code"),
        (rename(UNET_WEIGHTS, f"{S}.gguf"), f"are missing; there is {S}.gguf"),
    ],
)
def test_what_is_there_instead_of_weights(
    whole: Path, tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "x"))
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_diffusers(folder)
    assert says in str(caught.value)


# --- paths that are no model ---


def copied(to: str) -> Callable[[Path, Path], object]:
    return lambda folder, whole: shutil.copytree(whole, folder / to)


def some(name: str) -> Callable[[Path, Path], object]:
    return lambda folder, _: (folder / name).write_bytes(b"x")


def nothing(folder: Path, whole: Path) -> None:
    pass


def data(folder: Path, whole: Path) -> None:
    (folder / "metadata.jsonl").write_text("")


def transformer(folder: Path, whole: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "t5"}')
    save_file({"a": torch.ones(2)}, folder / "model.safetensors")


def foreign(folder: Path, whole: Path) -> None:
    save_file({"a": torch.ones(2)}, folder / "lora.safetensors")


def many(folder: Path, whole: Path) -> None:
    for number in (1000, 500, 20, 3):
        shutil.copytree(whole, folder / f"checkpoint-{number}")


@pytest.mark.parametrize(
    ("make", "given", "says"),
    [
        (copied("m/unet"), "m/unet/" + UNET_WEIGHTS, "belongs to a diffusers model; name its folder, {0}/m"),
        (copied("m/unet"), "m/unet/config.json", "belongs to a diffusers model; name its folder, {0}/m"),
        (copied("bare"), "bare/" + UNET_WEIGHTS, "name its folder, {0}/bare"),
        (copied("checkpoint-500"), ".", "there is checkpoint-500 in it: name {0}/checkpoint-500"),
        (copied("snapshots/abc"), ".", "there is snapshots/abc in it"),
        (many, ".", "there are checkpoint-3, checkpoint-20, checkpoint-500 and 1 more in it: name one of them"),
        (data, ".", "{0} is a data folder, not a model"),
        (transformer, ".", "belongs to a transformers model"),
        (transformer, "model.safetensors", "belongs to a transformers model"),
        (foreign, "lora.safetensors", "is a safetensors file that glyffctl did not write"),
        (foreign, ".", "holds no model: there is no model.safetensors in it"),
        (some("a.ckpt"), "a.ckpt", "can run code"),
        (some("a.png"), "a.png", "a.png is not a model"),
        (some("a.safetensors"), "a.safetensors", "cut short"),
        (nothing, ".", "it is empty; train one"),
    ],
)
def test_other_paths_are_told_by_what_they_are(
    whole: Path, tmp_path: Path, make: Callable[[Path, Path], object], given: str, says: str
) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    make(folder, whole)
    with pytest.raises(GlyffError) as caught:
        finish(sample(SampleOptions(prompts=("fish",), model=folder / given, out=tmp_path / "x.png")))
    message = str(caught.value)
    assert says.format(folder) in message
    assert "\n" not in message and "not a file of glyffctl" not in message
    assert ("get the file again" in message) == (says == "cut short")


def test_files_of_a_run(tiny_run: Path, tmp_path: Path) -> None:
    from glyffctl.core.models.checkpoint import load_model

    with pytest.raises(ModelError, match=rf"is a training state.*{tiny_run}/model\.safetensors$"):
        load_model(tiny_run / "state.safetensors")
    with pytest.raises(ModelError, match=rf"not a model; name its folder, {tiny_run}$"):
        load_model(tiny_run / "log.jsonl")
    with pytest.raises(ModelError, match=r"there (is|are) .* in it"):
        load_model(tiny_run.parent)
    shutil.copy(tiny_run / "config.json", tmp_path)
    with pytest.raises(ModelError, match="holds no model yet"):
        load_model(tmp_path)


def test_the_network_of_a_pipeline_alone(pipeline: Path) -> None:
    """Without the scheduler beside it other noise levels would be taken."""
    with pytest.raises(ModelError, match=rf"the network alone of a model of diffusers; name its folder, {pipeline}$"):
        load_diffusers(pipeline / "unet")

"""Models on disk: what they hold, and what is refused."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from glyffctl.core.errors import ModelError
from glyffctl.core.io import tensors as checked_files
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.io.tensors import digest, load_tensors, save_tensors
from glyffctl.core.models.checkpoint import (
    MODEL_FILE,
    MODEL_KIND,
    SIGMAS,
    load_model,
    load_origin,
    load_state,
    save_model,
)
from glyffctl.core.models.weights import load_weights
from glyffctl.core.networks.network import channels_last


def test_a_model_knows_all_that_sampling_needs(tiny_run: Path) -> None:
    model = load_model(tiny_run)
    assert model.images == 96
    assert model.origin == load_origin(tiny_run)
    assert model.origin.encoder.name.endswith("t5")
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_the_model_is_the_average_not_the_raw_weights(tiny_run: Path) -> None:
    state = load_state(tiny_run)
    assert state is not None
    weights = load_model(tiny_run).network.state_dict()
    for name, tensor in weights.items():
        assert torch.equal(tensor, state[0][f"ema.{name}"]), name
    assert any(not torch.equal(tensor, state[0][f"network.{name}"]) for name, tensor in weights.items())


def test_sixteen_bits_are_half_the_size_and_nearly_the_same(tiny_run: Path, tmp_path: Path) -> None:
    model = load_model(tiny_run)
    save_model(tmp_path / "half.safetensors", model, torch.float16)
    half = load_model(tmp_path / "half.safetensors")
    size = (tmp_path / "half.safetensors").stat().st_size
    assert size < 0.55 * (tiny_run / "model.safetensors").stat().st_size
    for name, tensor in model.network.state_dict().items():
        torch.testing.assert_close(half.network.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)
    assert half.identity != model.identity


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (4, 3, 2, 2)])
def test_one_number_that_is_not_finite_is_found_in_any_place(shape: tuple[int, ...], number: float) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(shape))

    for place in range(math.prod(shape)):
        weight = torch.linspace(-1, 1, math.prod(shape)).reshape(shape).half()
        loaded = load_weights(Bare(), {"weight": weight}, Path("x"))
        assert torch.equal(loaded.weight, weight.float())
        weight.view(-1)[place] = number
        with pytest.raises(ModelError, match="not finite"):
            load_weights(Bare(), {"weight": weight}, Path("x"))


def test_a_model_is_digested_and_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both take as long as the weights are large, at every start."""
    digests: list[int] = []

    def counting(tensors: Mapping[str, Tensor]) -> str:
        digests.append(len(tensors))
        return digest(tensors)

    monkeypatch.setattr(checked_files, "digest", counting)
    model = load_model(pretrained(MODEL_FILE))
    assert len(digests) == len(set(digests)) == 2  # of the model and of its student
    kernels = [weight for weight in model.network.parameters() if weight.ndim == 4]
    assert kernels and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    before = [weight.data_ptr() for weight in kernels]
    assert [weight.data_ptr() for weight in channels_last(model.network).parameters() if weight.ndim == 4] == before


def test_files_that_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    weights, header = load_tensors(tiny_run / "model.safetensors", MODEL_KIND, ModelError)
    name = next(name for name in weights if name != SIGMAS)
    wide = json.loads(json.dumps(header))
    wide["config"]["network"]["channels"] = [64, 64]
    resized = json.loads(json.dumps(header))
    resized["config"]["codec"]["size"] = 64
    poisoned = {**weights, name: torch.full_like(weights[name], float("nan"))}
    cases = {
        "newer": ("glyffctl-model/3", weights, header, "glyffctl-model/3"),
        "sizes": (MODEL_KIND, weights, wide, "do not fit"),
        "resized": (MODEL_KIND, weights, resized, "does not fit its codec"),
        "lacking": (MODEL_KIND, {k: v for k, v in weights.items() if k != name}, header, "do not fit"),
        "levels": (MODEL_KIND, {**weights, SIGMAS: weights[SIGMAS].flip(0)}, header, "noise levels"),
        "no levels": (MODEL_KIND, {k: v for k, v in weights.items() if k != SIGMAS}, header, "noise levels"),
        "nan": (MODEL_KIND, poisoned, header, "not finite"),
        "headless": (MODEL_KIND, weights, {"config": header["config"]}, "settings"),
        "unknown": (MODEL_KIND, weights, {**header, "config": {"network": {"colour": 3}}}, "colour"),
        "wrong": (MODEL_KIND, weights, {**header, "encoder": None}, "settings"),
    }
    for title, (kind, tensors, top, words) in cases.items():
        path = tmp_path / f"{title}.safetensors"
        save_tensors(path, kind, tensors, top)
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert words in str(caught.value), (title, caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="does not exist"):
        load_model(tmp_path / "none.safetensors")


def test_run_settings_that_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    assert load_origin(tmp_path) is None
    assert load_state(tmp_path) is None
    shutil.copy(tiny_run / "config.json", tmp_path)
    text = (tmp_path / "config.json").read_text()
    for content in ("", "[]", "{}", text.replace('"batch": 8', '"batch": "8"'), text.replace('"config"', '"cfg"')):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ModelError):
            load_origin(tmp_path)

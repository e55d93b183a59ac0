"""Drawing without PyTorch: the same numbers as with it, wing by wing; `test_sample_light` has the command."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from glyffctl.core.errors import ModelError
from glyffctl.core.io import arrays, tensors
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.light.model import Declined, load_light
from glyffctl.core.light.noise import start_noise
from glyffctl.core.light.student import load_student, to_pixels
from glyffctl.core.light.text import LightEncoder, Texts
from glyffctl.core.light.unet_graph import UNetSizes, unet_graph
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.core.noise import Stream, normal
from glyffctl.core.text.loading import load_encoder
from tests.students import make_student, make_toy
from tests.toys import captions

SMALL = UNetSizes(
    size=16, in_channels=1, patch=2, channels=(8, 16), blocks=1, attention=(1,), head_width=8, context_width=8
)
NETWORKS: dict[str, dict[str, Any]] = {
    "as bundled": {},
    "attention everywhere": {"attention": (0, 1), "head_width": 4},
    "two blocks, three levels": {"blocks": 2, "channels": (8, 16, 24), "attention": (2,)},
    "no patches": {"patch": 1},
    "only the middle attends": {"attention": ()},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_student_draws_what_it_draws_with_pytorch(name: str, tmp_path: Path) -> None:
    folder = make_toy(tmp_path, **NETWORKS[name])
    model = load_model(folder)
    light = load_light(folder / "model.safetensors", folder / "few-step.safetensors")
    condition = captions(3, width=model.text_width)  # of one to three tokens
    condition = condition._replace(tokens=condition.tokens.float())
    condition.mask[1], condition.tokens[1] = False, 0  # no caption
    texts = Texts(condition.tokens.numpy(), condition.mask.numpy())
    prompt, seeds = torch.tensor([0, 1, 2, 2]), torch.tensor([3, 5, 2**40, 2**61])
    drawer = Drawer.of(model, torch.device("cpu"), precision="fp32")
    for passes in (1, 4):
        steps = drawer.steps(
            Recipe(sampler=FEW_STEP, steps=passes, guidance=2.5), condition.rows(prompt), condition.rows(prompt), seeds
        )
        drawn = load_student(light, 1).draw(texts, prompt.numpy(), seeds.numpy(), light.levels_of(passes), 2.5)
        for step, x in zip(steps, drawn, strict=True):
            np.testing.assert_allclose(x, step.x[:, 0], rtol=1e-4, atol=1e-4)
        assert step.x.std() > 0.1  # the last one: a picture, not a constant
    assert light.identity == model.identity_of(model.recipe)
    assert (light.images, light.epochs) == (model.images, model.epochs)


def test_a_student_without_cross_attention_is_left_to_pytorch(tmp_path: Path) -> None:
    folder = make_toy(tmp_path, cross_text=False)
    with pytest.raises(Declined):
        load_light(folder / "model.safetensors", folder / "few-step.safetensors")
    model = load_model(folder)
    some = captions(2, width=model.text_width)
    some = some._replace(tokens=some.tokens.float())
    drawer = Drawer.of(model, torch.device("cpu"), precision="fp32")
    recipe = Recipe(sampler=FEW_STEP, steps=1, guidance=2.5)
    steps = drawer.steps(recipe, some, some, torch.zeros(2, dtype=torch.long))
    [first, second] = [step.x for step in steps][-1]
    assert float((first - second).abs().max()) > 1e-3  # one noise, two captions


def test_pixels_are_rounded_as_the_codec_rounds_them() -> None:
    x = torch.linspace(-1.2, 1.2, 4001)
    from glyffctl.core.codecs import pixels

    assert np.array_equal(to_pixels(x.numpy()), pixels.to_pixels(x).numpy())


def test_a_network_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    folder = make_toy(tmp_path)
    light = load_light(folder / "model.safetensors", folder / "few-step.safetensors")
    light.weights["conv_out.bias"][:] = np.nan  # files with such numbers are declined
    texts = Texts(np.zeros((1, 1, light.text_width), np.float32), np.zeros((1, 1), bool))
    passes = load_student(light, 1).draw(texts, np.zeros(1, int), np.zeros(1, int), light.levels_of(1), 1.0)
    with pytest.raises(ModelError, match="not finite"):
        list(passes)


def test_noise_has_the_bits_of_every_seed() -> None:
    seeds = np.array([0, 1, 2**31, 2**32 + 7, 2**61 + 3])
    expected = normal(0, torch.from_numpy(seeds), (101,), Stream.EPS).numpy()
    np.testing.assert_allclose(start_noise(seeds, 101), expected, rtol=0, atol=2e-6)


def test_the_text_encoder_is_the_one_of_pytorch() -> None:
    long = "a mountain of gold over the sea in the morning light of a long summer " * 6
    texts = ["lithium", "", "a kind of fish", long, "鋰 (Li)"]
    light, full = LightEncoder(pretrained("encoder"), 64), load_encoder("bundled")
    ours, theirs = light.encode(texts), full.encode(texts)
    assert np.array_equal(ours.mask, theirs.mask.numpy())
    np.testing.assert_allclose(ours.tokens, theirs.tokens.numpy(), atol=2e-5)
    assert light.fingerprint == full.fingerprint and light.width == full.width
    for text in texts:
        assert light.is_cut(text) == full.is_cut(text) and light.find_unknown(text) == full.find_unknown(text)
    assert light.is_cut(long) and light.find_unknown("鋰").whole


def test_the_graph_is_sound_onnx() -> None:
    graph, shapes = unet_graph(SMALL)
    model = onnx.load_from_string(graph)
    assert {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer if tensor.external_data} == shapes
    for tensor in model.graph.initializer:  # the checker wants the numbers
        if tensor.external_data:
            filled = onnx.numpy_helper.from_array(np.zeros(shapes[tensor.name], np.float32), tensor.name)
            tensor.CopyFrom(filled)
    onnx.checker.check_model(model, full_check=True)
    assert hashlib.sha256(graph).digest() == hashlib.sha256(unet_graph(SMALL)[0]).digest()
    assert unet_graph(replace(SMALL, patch=4))[0] != graph


def test_arrays_are_read_as_tensors_are(tmp_path: Path) -> None:
    held = {
        "half": torch.randn(3, 4).half(),
        "double": torch.randn(2, dtype=torch.float64),
        "whole": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "none": torch.zeros(0, 3),
        "one": torch.tensor(1.5),
    }
    tensors.save_tensors(tmp_path / "x", "kind/1", held, {"a": "α"})
    read = arrays.load_arrays(tmp_path / "x", "kind/1", ModelError)
    assert read.header == {"a": "α"} and read.digest == tensors.digest(held)
    assert all(np.array_equal(read.tensors[name], value.numpy()) for name, value in held.items())
    with pytest.raises(ModelError, match="kind/1"):
        arrays.load_arrays(tmp_path / "x", "kind/2", ModelError)


def _header(change: Any) -> Any:
    """What rewrites a file of tensors with another header."""

    def rewrite(file: Path, kind: str) -> None:
        held, header = tensors.load_tensors(file, kind, ModelError)
        change(header, held)
        tensors.save_tensors(file, kind, held, header)

    return rewrite


def _not_finite(header: dict[str, Any], held: dict[str, torch.Tensor]) -> None:
    held["whole.conv_in/bias"][0] = torch.inf


CHANGES = {
    "another model's student": (1, _header(lambda header, _: header.update(base="0" * 32))),
    "of eps": (0, _header(lambda header, _: header["config"]["diffusion"].update(prediction="eps"))),
    "of another network": (0, _header(lambda header, _: header["config"]["network"].update(kind="mixer"))),
    "of another width": (0, _header(lambda header, _: header["config"]["network"].update(channels=[8, 32]))),
    "without cross-attention": (0, _header(lambda header, _: header["config"]["network"].update(cross_text=False))),
    "of another head": (0, _header(lambda header, _: header["config"]["network"].update(head_width=3))),
    "of another width of text": (0, _header(lambda header, _: header["config"]["network"].update(text_width=[8]))),
    "without settings": (0, _header(lambda header, _: header.pop("config"))),
    "not finite": (1, _header(_not_finite)),
    "levels that ascend": (1, _header(lambda _, held: held.update(levels=held["levels"].flip(0)))),
    "without a scale": (1, _header(lambda _, held: held.pop("left.middle_in/res/conv1/weight:scale"))),
    "without levels": (1, _header(lambda _, held: held.pop("levels"))),
    "cut short": (0, lambda file, _: file.write_bytes(file.read_bytes()[:-7])),
    "one bit": (1, lambda file, _: file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))),
    "no file": (0, lambda file, _: file.unlink()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_unusual_is_declined(name: str, tmp_path: Path) -> None:
    folder = make_toy(tmp_path)
    files = [folder / "model.safetensors", folder / "few-step.safetensors"]
    number, change = CHANGES[name]
    change(files[number], ("glyffctl-model/2", "glyffctl-few-step/1")[number])
    with pytest.raises(Declined):
        load_student(load_light(*files), 1)


@pytest.mark.thorough
def test_a_number_of_passes_that_it_has_not_learned_is_declined(tmp_path: Path) -> None:
    folder = make_student(tmp_path)
    light = load_light(folder / "model.safetensors", folder / "few-step.safetensors")
    assert [len(light.levels_of(passes)) for passes in (1, 2, 4, 8)] == [2, 3, 5, 9]
    for passes in (3, 16):
        with pytest.raises(Declined):
            light.levels_of(passes)

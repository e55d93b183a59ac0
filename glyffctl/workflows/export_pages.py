"""The README.md of an exported model, with a complete program that draws with it."""

from __future__ import annotations

from glyffctl.core.models.recipe import Recipe
from glyffctl.core.networks.unet import UNetConfig

_ONNX = '''# A glyffctl model as ONNX

English definition → glyph.

- {network}
- `text_encoder.onnx` encodes token ids as the text of `denoiser.onnx`.
- `glyffctl.json` has sizes, noise levels and the settings of the training.

| graph | input | type and shape |
|---|---|---|
| `denoiser.onnx` | `x` | float32 (batch, 1, size, size) |
| | `sigma` | float32 (batch) |
| | `tokens` | float32 (batch, length, width) |
| | `mask` | bool (batch, length); a row that is all false has no caption |
| `text_encoder.onnx` | `ids` | int64 (batch, length) |
| | `mask` | bool (batch, length) |

To draw ({how}), in this folder, after `pip install numpy onnxruntime pillow tokenizers`:

```python
import json
import math

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

about = json.load(open("glyffctl.json", encoding="utf-8"))
tokenizer = Tokenizer.from_file("tokenizer/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(about["text"]["max_tokens"])
text_encoder = onnxruntime.InferenceSession("text_encoder.onnx")
denoiser = onnxruntime.InferenceSession("denoiser.onnx")


def encode(prompt, count):
    """A prompt for `count` pictures: its token vectors and their mask. "" is no caption."""
    if not prompt.strip():
        return np.zeros((count, 1, about["text"]["width"]), np.float32), np.zeros((count, 1), bool)
    ids = np.array([tokenizer.encode(prompt).ids] * count)
    mask = np.ones(ids.shape, bool)
    return text_encoder.run(None, {"ids": ids, "mask": mask})[0], mask


{draw}size = about["picture"]["size"]
pictures = draw("lithium", np.random.default_rng(0).standard_normal((4, 1, size, size)))
pixels = ((pictures[:, 0] + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
Image.fromarray(np.hstack(pixels)).save("lithium.png")
```
'''

_DENOISER = """\
`denoiser.onnx` is D(x, σ, text), the best guess of a clean picture x0 in [−1, 1] (−1 is black) for x = x0 + σ·ε."""
_ONE_PASS = """\
`denoiser.onnx` answers noise x = √(1 + σ²)·ε and a text with a picture in [−1, 1] (−1 is black) at once; σ is the
  highest noise level."""
_DRAW = '''sampling = about["sampling"]


def draw(prompt, noise, steps=sampling["steps"], guidance=sampling["guidance"], guided_from=sampling["interval"][0]):
    """Pictures in [−1, 1], (count, 1, size, size), from standard normal noise of that shape."""
    table = np.array(about["schedule"]["sigmas"])
    levels = [table[round(len(table) * k / steps) - 1] for k in range(steps, 0, -1)] + [0.0]
    caption, empty = encode(prompt, len(noise)), encode("", len(noise))

    def denoise(x, sigma, text):
        sigmas = np.full(len(x), sigma, np.float32)
        return denoiser.run(None, {"x": x, "sigma": sigmas, "tokens": text[0], "mask": text[1]})[0]

    x = (noise * math.sqrt(1 + levels[0] ** 2)).astype(np.float32)
    before, before_h = None, 0.0
    for sigma, target in zip(levels, levels[1:]):
        x0 = denoise(x, sigma, caption)
        if sigma >= guided_from:
            away = denoise(x, sigma, empty)
            x0 = away + guidance * (x0 - away)
        x0 = np.clip(x0, -1, 1)
        h = math.log(sigma / target) if target > 0 else math.inf
        direction = x0
        if before is not None and target > 0:
            direction = x0 + (x0 - before) * (h / before_h / 2)
        x = (x * (target / sigma) - direction * math.expm1(-h)).astype(np.float32)
        before, before_h = x0, h
    return x


'''
_DRAW_ONCE = '''def draw(prompt, noise):
    """Pictures in [−1, 1], (count, 1, size, size), from standard normal noise of that shape."""
    sigma = about["schedule"]["sigmas"][-1]
    tokens, mask = encode(prompt, len(noise))
    x = (noise * math.sqrt(1 + sigma**2)).astype(np.float32)
    sigmas = np.full(len(x), sigma, np.float32)
    (x0,) = denoiser.run(None, {"x": x, "sigma": sigmas, "tokens": tokens, "mask": mask})
    return np.clip(x0, -1, 1)


'''

_DIFFUSERS = '''# A glyffctl model for diffusers

English definition → glyph. The network in `unet/` is a `UNet2DConditionModel` with the trained weights, the noise
levels in `scheduler/` are those of a `DPMSolverMultistepScheduler`. Three things happen outside the network:

{outside}
Pictures are in [−1, 1]; −1 is black. The settings of the training are in `glyffctl.json`.

To draw, in this folder, after `pip install torch diffusers pillow transformers`:

```python
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoTokenizer, {kind}

unet = UNet2DConditionModel.from_pretrained("unet").eval()
scheduler = DPMSolverMultistepScheduler.from_pretrained("scheduler")
tokenizer = AutoTokenizer.from_pretrained("tokenizer")
text_encoder = {kind}.from_pretrained("text_encoder").eval()
text = load_file("text.safetensors")


def encode(prompt):
    """A prompt as keyword arguments of the network. "" is no caption."""
    tokens = text["null_token"][None, None]
    if prompt.strip():
        ids = tokenizer(prompt, truncation=True, max_length={max_tokens}, return_tensors="pt").input_ids
        tokens = text_encoder(ids).last_hidden_state
        tokens = F.layer_norm(tokens, tokens.shape[-1:], text["norm.weight"], text["norm.bias"])
        tokens = F.linear(tokens, text["linear.weight"], text["linear.bias"])
{pooled}

@torch.no_grad()
def draw(prompt, noise, steps={steps}, guidance={guidance:g}, guided_from={guided_from:g}):
    """Pictures in [−1, 1], (count, 1, {size}, {size}), from standard normal noise of that shape."""

    def predict(z, label, text):
        text = {{name: t.expand(len(z), *t.shape[1:]) for name, t in text.items()}}
        return F.pixel_shuffle(unet(F.pixel_unshuffle(z, {patch}), label, **text).sample, {patch})

    z, caption, empty = noise, encode(prompt), encode("")
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        alpha_bar = scheduler.alphas_cumprod[t].double()
        variance = (1 - alpha_bar) / alpha_bar  # σ²
        label = (125 * variance.log()).float()
        prediction = predict(z, label, caption)
        if variance >= guided_from**2:
            away = predict(z, label, empty)
            prediction = away + guidance * (prediction - away)
        z = scheduler.step(prediction, t, z).prev_sample
    return z


pictures = draw("lithium", torch.randn(4, 1, {size}, {size}, generator=torch.Generator().manual_seed(0)))
pixels = ((pictures[:, 0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
Image.fromarray(torch.hstack(list(pixels)).numpy()).save("lithium.png")
```
'''
_OUTSIDE = """\
- Input and output are pictures in blocks of {patch}×{patch} pixels, where each pixel of a block is a channel.
- The timestep of the network is 125·ln σ² = 125·ln((1−ᾱ)/ᾱ), not a number of steps.
- Text vectors are normalised and projected with `text.safetensors`; its `null_token` stands for no caption.
"""
_POOLED = """\
  The mean of the tokens, normalised, is passed as `class_labels`.
"""
_RETURN = """\
    return {"encoder_hidden_states": tokens}
"""
_RETURN_POOLED = """\
    pooled = tokens.mean(1)
    pooled = F.layer_norm(pooled, pooled.shape[-1:], text["pool_norm.weight"], text["pool_norm.bias"])
    return {"encoder_hidden_states": tokens, "class_labels": pooled}
"""


_AUTOENCODER = """# A codec of glyffctl for diffusers

An `AutoencoderKL` of grey pictures of {size}×{size} pixels in [−1, 1] (−1 is black), the same in each of its channels.
After `pip install torch diffusers numpy pillow`, in this folder:

```python
import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

codec = AutoencoderKL.from_pretrained(".")
picture = np.array(Image.open("glyph.png").convert("L").resize(({size}, {size})))
x = torch.tensor(picture)[None, None].float() / 127.5 - 1
x = x.expand(1, codec.config.in_channels, -1, -1)
with torch.no_grad():
    latent = (codec.encode(x).latent_dist.mean - codec.config.shift_factor) * codec.config.scaling_factor
    again = codec.decode(latent / codec.config.scaling_factor + codec.config.shift_factor).sample
Image.fromarray(((again[0].mean(0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()).save("again.png")
```
"""


def autoencoder_page(size: int) -> str:
    """The page of a codec for pictures of `size` pixels."""
    return _AUTOENCODER.replace("{size}", str(size))


def onnx_page(*, one_pass: bool) -> str:
    """README.md of an ONNX export; `one_pass` is that of the network."""
    network, how, draw = (
        (_ONE_PASS, "in one pass", _DRAW_ONCE) if one_pass else (_DENOISER, "DPM-Solver++ 2M with guidance", _DRAW)
    )
    return _ONNX.replace("{network}", network).replace("{how}", how).replace("{draw}", draw)


def diffusers_page(config: UNetConfig, recipe: Recipe, kind: str, max_tokens: int) -> str:
    """README.md of an export for diffusers; `kind` is the class of the text encoder in transformers."""
    return _DIFFUSERS.format(
        outside=_OUTSIDE.format(patch=config.patch) + (_POOLED if config.pooled_text else ""),
        kind=kind,
        max_tokens=max_tokens,
        pooled=_RETURN_POOLED if config.pooled_text else _RETURN,
        size=config.size,
        patch=config.patch,
        steps=recipe.steps,
        guidance=recipe.guidance,
        guided_from=recipe.interval[0],
    )

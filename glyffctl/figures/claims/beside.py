"""Beside other models: the rows of the companion's table, and what large pictures cost."""

from __future__ import annotations

from glyffctl.figures.claims.entry import Entry

TITLE = "Beside other models"
ENTRIES = (
    Entry(
        "pixel cost",
        "in pixels large pictures are expensive, and a smaller space is cheaper",
        "A closing remark on production systems.",
        found="a pass takes {n[side 64]:.1f} billion operations at 64×64, {n[side 128]:.1f} at 128×128, "
        "{n[side 512]:.0f} at 512×512; at 128×128 {n[pixel by pixel]:.0f} pixel by pixel and {n[latents]:.1f} in "
        "latents of a quarter the side",
        correction="four times the operations for twice the side; patches of 4×4 pixels save as much as latents, "
        "without a codec",
        instead="not by this count",
    ),
    Entry(
        "VAE blurry",
        "samples of a VAE are blurry",
        "The table of three families: the first.",
        "lesson",
        found="grey pixels: VAE {e[VAE]:.1%}, diffusion {e[diffusion]:.1%}, real glyphs {e[real]:.1%}",
        instead="no greyer than the others",
    ),
    Entry(
        "GAN fast",
        "a GAN is sharp and fast",
        "The second, its strengths.",
        "lesson",
        found="grey pixels: GAN {e[GAN]:.1%}, diffusion {e[diffusion]:.1%}, real glyphs {e[real]:.1%}; seconds for a "
        "picture {n[seconds, gan]:.3g} and {n[seconds, diffusion]:.3g}",
        correction="one of the two",
        instead="neither",
    ),
    Entry(
        "GAN unstable",
        "the training of a GAN is unstable",
        "Its weaknesses, first.",
        "companion",
        found="between {n[runs]:.0f} runs or more that differ in their seed, the distance from real glyphs differs "
        "by {n[spread, gan]:.3g} for GANs, {n[spread, vae]:.3g} for VAEs, {n[spread, diffusion]:.3g} for diffusion",
        instead="seeds matter as little as for the others",
    ),
    Entry(
        "mode collapse",
        "a GAN loses modes",
        "And second.",
        "lesson",
        found="recall of real glyphs: GAN {e[GAN]:.0%}, diffusion {e[diffusion]:.0%}",
        instead="it recalls as many",
    ),
    Entry(
        "diffusion quality",
        "diffusion draws best",
        "The third family, its strength.",
        "lesson",
        found="distance from real glyphs in a classifier's features: diffusion {e[diffusion]:.3f}, VAE {e[vae]:.3f}, "
        "GAN {e[gan]:.3f}",
        correction="the intervals overlap",
        instead="another is nearer",
    ),
    Entry(
        "diffusion slow",
        "diffusion is slow",
        "And its weakness, which fast samplers mitigate.",
        "lesson",
        found="seconds for a picture: diffusion {n[seconds, diffusion]:.3g}, VAE {n[seconds, vae]:.3g}, GAN "
        "{n[seconds, gan]:.3g}",
        instead="not by much",
    ),
)

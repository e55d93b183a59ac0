"""Beside other models: the rows of the companion's table, and what large pictures cost."""

from __future__ import annotations

from glyffctl.figures.claims.entry import Entry

TITLE = "Beside other models"
ENTRIES = (
    Entry(
        "pixel cost",
        "In pixels large pictures are expensive, and a smaller space is cheaper.",
        "This is a closing remark on production systems.",
        found="A pass of the network takes {n[side 64]:.1f} billion operations for a picture of 64×64 pixels, "
        "{n[side 128]:.1f} for 128×128 and {n[side 512]:.0f} for 512×512. For 128×128, it takes "
        "{n[pixel by pixel]:.0f} pixel by pixel, and {n[latents]:.1f} in latents of a quarter the side.",
        correction="twice the side takes four times the operations, but patches of 4×4 pixels save as much as latents "
        "do, without a codec",
        instead="by this count of operations they are not, or it is not",
    ),
    Entry(
        "VAE blurry",
        "Samples of a VAE are blurry.",
        "The comparison of three families of models gives this as the weakness of a VAE.",
        "lesson",
        found="The more pixels are grey, the more blurred a picture is. They are {e[VAE]:.1%} with a VAE, "
        "{e[diffusion]:.1%} with diffusion, and {e[real]:.1%} in real glyphs.",
        instead="they are no greyer than those of diffusion, or than real glyphs",
    ),
    Entry(
        "GAN fast",
        "A GAN is sharp and fast.",
        "The comparison of three families of models gives these as the strengths of a GAN.",
        "lesson",
        found="The fewer pixels are grey, the sharper a picture is. They are {e[GAN]:.1%} with a GAN, "
        "{e[diffusion]:.1%} with diffusion, and {e[real]:.1%} in real glyphs. A picture takes a GAN "
        "{n[seconds, gan]:.3g} seconds, and diffusion {n[seconds, diffusion]:.3g}.",
        correction="it is one of the two, but not both",
        instead="it is neither sharp nor fast",
    ),
    Entry(
        "GAN unstable",
        "The training of a GAN is unstable.",
        "The comparison of three families of models gives this as a weakness of a GAN.",
        "companion",
        found="Of each family, {n[runs]:.0f} runs or more differ in nothing but their seed. Their distances from real "
        "glyphs spread by {n[spread, gan]:.3g} for GANs, {n[spread, vae]:.3g} for VAEs and "
        "{n[spread, diffusion]:.3g} for diffusion.",
        instead="seeds matter hardly more than they do for the other families",
    ),
    Entry(
        "mode collapse",
        "A GAN loses modes: there are kinds of pictures that it never draws.",
        "The comparison of three families of models gives this as a weakness of a GAN.",
        "lesson",
        found="Recall is the share of real glyphs with a drawn picture near them. It is {e[GAN]:.0%} for a GAN, and "
        "{e[diffusion]:.0%} for diffusion, after training on as many pictures. Other settings may make a GAN lose "
        "fewer.",
        instead="it recalls as many real glyphs as diffusion does",
    ),
    Entry(
        "diffusion quality",
        "Diffusion draws the best pictures.",
        "The comparison of three families of models gives this as the strength of diffusion.",
        "lesson",
        found="In the features of a classifier, the distance of drawn pictures from real glyphs is {e[diffusion]:.3f} "
        "for diffusion, {e[vae]:.3f} for a VAE and {e[gan]:.3f} for a GAN.",
        correction="its distance is the smallest, but the intervals overlap",
        instead="another family is nearer to real glyphs",
    ),
    Entry(
        "diffusion slow",
        "Diffusion is slow.",
        "The comparison of three families of models gives this as the weakness of diffusion, which fast samplers "
        "mitigate.",
        "lesson",
        found="A picture takes diffusion {n[seconds, diffusion]:.3g} seconds, a VAE {n[seconds, vae]:.3g} and a GAN "
        "{n[seconds, gan]:.3g}.",
        instead="it takes no more than twice as long as the others",
    ),
)

"""What a model learns: the statements about distributions, pictures as points, and the map."""

from __future__ import annotations

from glyffctl.core.atlas.separation import VOTES
from glyffctl.core.theory.claims import EPOCHS, GLYPHS, PICTURES
from glyffctl.core.theory.data_claims import PIXELS
from glyffctl.figures.claims.entry import Entry

TITLE = "What a model learns"
ENTRIES = (
    Entry(
        "gaussian fit",
        "The parameters of a Gaussian can be estimated from samples of it.",
        "The argument begins here: it shows what it means to learn a distribution where that is easy.",
        found="95 % intervals of the mean and the variance were computed from {n[samples]:.0f} samples, "
        "{e[mean]:count} times. They hold the true mean in {e[mean]:.1%} of the cases and the true variance in "
        "{e[variance]:.1%}. With data that are not Gaussian, the same interval holds the true variance in "
        "{e[variance of others]:.1%}.",
        instead="with {n[samples]:.0f} samples, the intervals do not hold the true values in 95 % of the cases, or do "
        "so for other data, too",
    ),
    Entry(
        "glyphs",
        f"About {GLYPHS:,} Chinese glyphs have an English definition.",
        "This is how much data there is, given where pictures become vectors.",
    ),
    Entry(
        "pixels",
        f"A glyph is a vector of {PIXELS:,} numbers.",
        "This is how a picture becomes a point. All later distributions live in the space of these points.",
        found="The glyphs here have {n[side]:.0f} × {n[side]:.0f} = {n[numbers]:,.0f} pixels, and each pixel is one "
        "number. {n[always paper]:.0%} of the pixels are white paper in every one of {e[grey]:count} glyphs. "
        "{e[grey]:.1%} of the pixels of a glyph are neither black nor white.",
        instead="the glyphs here have {n[numbers]:,.0f} numbers each",
    ),
    Entry(
        "not Gaussian",
        "The distribution of glyphs is far more complex than a Gaussian.",
        "This is why a network has to learn the distribution: no formula fits it.",
        found="Glyphs were compared with draws from the Gaussian that has their mean and covariance. Of the pixels of "
        "a glyph, {e[glyphs]:.1%} are grey (nearer to middle grey than to ink or paper), and of those of a draw "
        "{e[Gaussian]:.1%}. Another {e[outside]:.1%} of those of a draw are darker than ink or "
        "lighter than paper, which no picture can be.",
        instead="by its grey pixels, a Gaussian describes these pictures about as well",
    ),
    Entry(
        "dimension",
        "Glyphs lie on a set of far fewer dimensions than they have pixels.",
        "This assumption lets a map in the plane stand for the space of all pictures.",
        found="The number of dimensions was estimated from the distances of each glyph to its two nearest neighbours. "
        "For {e[glyphs]:count} glyphs of {n[pixels]:,.0f} pixels it is {e[glyphs]:.1f}. With every pixel shuffled "
        "among the glyphs it is {e[shuffled]:.0f}.",
        instead="by this estimate, glyphs need more than a hundredth as many dimensions as pixels, or no fewer than "
        "shuffled ones",
    ),
    Entry(
        "map keeps",
        "A projection to the plane keeps much of the structure of the data.",
        "This is taken as evidence for few dimensions. From there on, distributions are drawn in the plane.",
        found=f"For {{e[map]:count}} glyphs, the {VOTES} nearest glyphs were found by their pixels, and again in the "
        "UMAP map. {e[map]:.1%} of those nearest in pixels are among those nearest in the map. In a plane of principal "
        "components it is {e[plane]:.1%}, and by chance it would be {n[chance]:.2%}.",
        correction="the map keeps some of it, far more than chance would, but less than half of the neighbours",
        instead="the map keeps hardly more neighbours than chance, or no more than a plane of principal components",
    ),
    Entry(
        "clusters",
        "The UMAP map has two clusters: characters built left–right, and characters built top–bottom.",
        "The map is said to show this at first sight.",
        found=f"In the map, the {VOTES} nearest neighbours of each of {{n[glyphs]:,.0f}} characters voted on whether "
        "it is built left–right or top–bottom. Their accuracy, averaged over the two kinds (balanced accuracy), "
        "is {n[map]:.1%}. In a plane of principal components it is {n[plane]:.1%}, and with shuffled labels "
        "{n[shuffled]:.1%}.",
        instead="the two kinds mix in the map",
    ),
    Entry(
        "map neighbours",
        "Neighbours in the map share their structure.",
        "This is said of the interactive map, where characters with the same part lie together.",
        found=f"In the map, the {VOTES} nearest neighbours of each of {{e[map]:count}} glyphs voted on its radical. "
        "They are right for {e[map]:.1%} of the glyphs. In a plane of principal components they are right for "
        "{e[plane]:.1%}, and in the map with shuffled radicals for {e[shuffled]:.1%}.",
        instead="neighbours share a radical hardly more often than by chance, or no more often than in a plane of "
        "principal components",
    ),
    Entry(
        "map density",
        "Dense places in the map are places of high probability.",
        "The density over the map is shown as a picture of the distribution itself.",
        found=f"The distance of a glyph to its {VOTES}th neighbour tells how dense its surroundings are. The rank "
        "correlation of this distance in the map and in pixels (1: the same order; 0: unrelated) is {e[map]:.2f}. For "
        "a plane of principal components it is {e[plane]:.2f}, and with shuffled glyphs {e[shuffled]:.2f}.",
        correction="the two are weakly related, because a map evens densities out; its dense places say little about "
        "the space of pixels",
        instead="density in the map has nothing to do with density in the space of pixels",
    ),
    Entry(
        "pictures seen",
        f"In {EPOCHS} epochs a network sees about {PICTURES // 1_000_000} million pictures.",
        "This is how much a network sees, given where the training is described.",
    ),
)

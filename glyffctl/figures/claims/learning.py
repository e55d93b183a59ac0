"""What a model learns: the statements about distributions, pictures as points, and the map."""

from __future__ import annotations

from glyffctl.core.theory.claims import EPOCHS
from glyffctl.figures.claims.entry import Entry

TITLE = "What a model learns"
ENTRIES = (
    Entry(
        "gaussian fit",
        "the parameters of a Gaussian can be estimated from samples of it",
        "The first step: what learning a distribution means where it is easy, before glyphs, where it is not.",
        found="95 % intervals from {n[samples]:.0f} samples hold the true mean in {e[mean]:.1%} of the cases and the "
        "true variance in {e[variance]:.1%}; of data that are not Gaussian the same interval holds the variance in "
        "only {e[variance of others]:.1%}",
        instead="not from so few samples",
    ),
    Entry(
        "glyphs",
        "about 21,000 glyphs with English definitions",
        "What the data are, where pictures become vectors.",
    ),
    Entry(
        "pixels",
        "a glyph is a vector of 16,384 numbers",
        "How a picture becomes a point: the space that all later distributions live in.",
        found="{n[side]:.0f} × {n[side]:.0f} = {n[numbers]:,.0f} numbers; {n[always paper]:.0%} of them are paper in "
        "every glyph, and {e[grey]:.1%} of a glyph are neither black nor white",
        instead="these data have {n[numbers]:,.0f}",
    ),
    Entry(
        "not Gaussian",
        "the distribution of glyphs is far more complex than a Gaussian",
        "Why it has to be learned by a network: there is no formula to fit.",
        found="{e[glyphs]:.1%} of the pixels of a glyph are grey; of draws from the Gaussian with the glyphs' mean "
        "and covariance {e[Gaussian]:.1%}, and {e[outside]:.1%} are darker than ink or lighter than paper",
        instead="of these pictures a Gaussian would do as well",
    ),
    Entry(
        "dimension",
        "glyphs lie on a set of far fewer dimensions than pixels",
        "The assumption that lets a map in the plane stand for the space of all pictures.",
        found="by the distances to two nearest neighbours {e[glyphs]:.1f} dimensions of {n[pixels]:,.0f}, among "
        "{e[glyphs]:count} glyphs; with every pixel shuffled among the glyphs {e[shuffled]:.0f}",
        instead="not by this estimate",
    ),
    Entry(
        "map keeps",
        "a projection to the plane keeps much of the structure",
        "Taken as evidence for few dimensions, and as the licence to draw distributions in the plane.",
        found="of the 15 glyphs nearest in pixels {e[map]:.1%} are among the 15 nearest in the map, {e[plane]:.1%} "
        "in a plane of principal components, {n[chance]:.2%} by chance",
        correction="some of it, far more than by chance, and less than half",
        instead="hardly any of it",
    ),
    Entry(
        "clusters",
        "two clusters in the UMAP, left–right and top–bottom",
        "What the map is said to show at first sight.",
        found="15 neighbours in the map tell the two kinds of {n[glyphs]:,.0f} characters apart with {n[map]:.1%} "
        "balanced accuracy, in a plane of principal components with {n[plane]:.1%}, with shuffled labels "
        "{n[shuffled]:.1%}",
        instead="they mix",
    ),
    Entry(
        "map neighbours",
        "neighbours in the map share their structure",
        "Said of the interactive map, where characters with the same part lie together.",
        found="15 neighbours in the map vote for the radical of a glyph in {e[map]:.1%}, in a plane of principal "
        "components in {e[plane]:.1%}, in the map with shuffled radicals in {e[shuffled]:.1%}",
        instead="not their radicals",
    ),
    Entry(
        "map density",
        "dense places in the map are places of high probability",
        "The density over the map is shown as a picture of the distribution itself.",
        found="rank correlation of the distance to the 15th neighbour in the map and in pixels: {e[map]:.2f}; in a "
        "plane of principal components {e[plane]:.2f}; shuffled {e[shuffled]:.2f}",
        correction="weakly: a map evens densities out, and its dark places say little about the space of pixels",
        instead="they have nothing to do with it",
    ),
    Entry(
        "pictures seen",
        f"{EPOCHS} epochs are about 2 million pictures",
        "How much a network sees, where its training is described.",
    ),
)

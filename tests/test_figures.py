"""What the figures about diffusion show: definitions, errors with their scale, arrows that are more than heads."""

from __future__ import annotations

import re
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from matplotlib.text import Text

from glyffctl.core.io.images import sheet
from glyffctl.figures import density_score, model_figures, process, umap_plane
from glyffctl.figures.attention import draw_attention
from glyffctl.figures.demo_scene import DemoScene
from glyffctl.figures.style import SMALL, WIDTH, new_figure, save_figure, smallest_lettering, style
from tests.toys import eps


@pytest.fixture(scope="module")
def scene() -> DemoScene:
    """Squares of different sizes at different places, and three islands of points."""
    glyphs = torch.ones(12, 1, 16, 16)
    for k in range(12):
        glyphs[k, 0, 2 + k % 4 : 9 + k % 3, 1 + k : 4 + k] = -1
    islands = torch.tensor([[-1.2, 0.6], [1.1, 0.9], [0.2, -1.3]], dtype=torch.float64)
    points = islands.repeat(8, 1) + 0.15 * eps(24, 2, seed=1)
    groups = torch.arange(24) % 3
    return DemoScene(glyphs, 0, "the glyph", points, glyphs.repeat(2, 1, 1, 1), groups, ("a", "b", "c"), "linear", 0)


def words(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    return [text for text in found if text.strip()]


def test_the_smallest_lettering_counts_indices_but_only_of_formulas() -> None:
    figure = new_figure(3, 2)
    assert smallest_lettering(figure) == float("inf")
    figure.text(0, 0, "a", fontsize=12)
    figure.text(0, 0, "", fontsize=3)
    figure.text(0, 0, "a_b costs $5, or $6", fontsize=11, parse_math=False)
    figure.text(0, 0, "gone", fontsize=2, visible=False)
    assert smallest_lettering(figure) == 11
    figure.text(0, 0, "$x_t$", fontsize=12)
    assert smallest_lettering(figure) == pytest.approx(8.4)


def test_real_and_drawn_stand_above_the_definition_they_have_in_common(tmp_path: Path) -> None:
    pictures = torch.randint(0, 256, (6, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    hostile = ["to go", "costs $x_t$ or \\frac{ $", "\U0001f9ff", "word " * 90, "x" * 500, "line\nbreak\ttab"]
    with warnings.catch_warnings(), style():
        warnings.simplefilter("error")
        figure = model_figures.draw_pairs(pictures, 255 - pictures, hostile)
        save_figure(tmp_path / "beside.png", figure)
    said = words(figure)
    assert "to go" in [text.strip() for text in said] and any("costs $x_t$ or" in text for text in said)
    assert any("line break tab" in text for text in said) and any("no letters" in text for text in said)
    assert said.count("real") == said.count("drawn") == 4
    shown = [image.get_array() for axes in figure.axes for image in axes.images]
    assert len(shown) == 12
    for k in range(6):
        for array, picture in zip(shown[2 * k : 2 * k + 2], (pictures[k], 255 - pictures[k]), strict=True):
            assert torch.equal(torch.as_tensor(array), picture)
    # Nothing runs into the neighbor.
    cells = [text.get_window_extent() for axes in figure.axes for text in axes.texts if text.get_fontsize() == SMALL]
    assert len(cells) == 6
    assert all(a.x1 < b.x0 for a, b in pairwise(cells[:4]))


def test_a_definition_fits_and_says_where_it_was_cut() -> None:
    with style():
        figure = new_figure(WIDTH, 2)
        assert model_figures.wrap_text(figure, "to go", 2, 3) == "to go"
        lines = model_figures.wrap_text(figure, "the quick brown fox jumps over the lazy dog " * 3, 1.5, 3).split("\n")
        assert len(lines) == 3 and lines[-1].endswith("…") and not any("…" in line for line in lines[:2])
        assert " ".join(lines).startswith("the quick brown fox")
        whole = model_figures.wrap_text(figure, "the quick brown fox jumps over", 1.5, 3)
        assert whole.replace("\n", " ") == "the quick brown fox jumps over"
        assert model_figures.wrap_text(figure, "x" * 60, 1.5, 9).replace("\n", "") == "x" * 60
        assert model_figures.wrap_text(figure, "字" * 400, 1.5, 2).count("\n") == 1


def test_errors_are_shown_with_their_scale(scene: DemoScene) -> None:
    """Each panel is the predicted noise minus the true one, and the deviation below it is that of what is shown."""

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return scene.glyph[None] + 0.1 * sigma[:, None, None, None] * x.sign()

    with style():
        figure = process.draw_loop(scene, model).figure
        figure.canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_xlabel().startswith("off by")]
    assert len(panels) == 2 * len(process.TIMES)
    for axes in panels:
        shown = float(torch.as_tensor(axes.images[0].get_array()).square().mean().sqrt())
        said = axes.get_xlabel().removeprefix("off by ")
        assert said == ("< 0.001" if shown < 0.0005 else f"{shown:.3f}")
    for exact, guess in zip(panels[::2], panels[1::2], strict=True):
        assert exact.images[0].get_clim() == guess.images[0].get_clim()
        assert float(torch.as_tensor(guess.images[0].get_array()).square().mean().sqrt()) == pytest.approx(
            0.1, rel=1e-3
        )
    scales = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes[-len(process.TIMES) :]]
    limits = [axes.images[0].get_clim()[1] for axes in panels[::2]]
    assert scales == [[f"−{limit:g}", "0", f"{limit:g}"] for limit in limits]
    with style():
        alone = process.draw_loop(scene, None)
    assert "model" not in alone.measured
    assert sum(axes.get_xlabel().startswith("off by") for axes in alone.figure.axes) == len(process.TIMES)


@pytest.mark.parametrize(("value", "above"), [(0.0312, 0.04), (0.3, 0.3), (0, 1e-6), (9.5, 10), (1, 1)])
def test_the_scale_is_a_number_with_one_digit(value: float, above: float) -> None:
    assert process._round_up(value) == pytest.approx(above)


def test_arrows_have_shafts_and_one_scale(scene: DemoScene) -> None:
    with style():
        figure = density_score.draw_score(scene).figure
        figure.canvas.draw()
    fields = [found for axes in figure.axes for found in axes.collections if isinstance(found, Quiver)]
    assert len(fields) == len(density_score.SCORE_TIMES)
    lengths, strengths = [], []
    for field in fields:
        assert field.norm is fields[0].norm and field.cmap.name == fields[0].cmap.name
        length = (torch.as_tensor(field.U) ** 2 + torch.as_tensor(field.V) ** 2).sqrt()
        head = field.headlength * float(field.width or 0) * 2 * density_score.REACH  # widths are in widths of the panel
        assert bool((length > 1.4 * head).all())
        lengths.append(length)
        strengths.append(torch.as_tensor(field.get_array()))
    # The same score has the same arrow in every panel: the length is one rising function of the score.
    strength, order = torch.cat(strengths).sort()
    rising = torch.cat(lengths)[order].diff()
    assert bool((rising >= -1e-9).all()) and float(strength[-1]) == pytest.approx(fields[0].norm.vmax)


def test_density_and_score_do_not_show_the_same_twice(scene: DemoScene) -> None:
    with style():
        above, below = density_score.draw_density(scene), density_score.draw_score(scene)
    assert sum(bool(axes.get_title("center")) for axes in above.figure.axes) == len(density_score.TIMES)
    drawn_in = [axes for axes in below.figure.axes if axes.get_title("center")]
    assert all(any(isinstance(found, Quiver) for found in axes.collections) for axes in drawn_in)
    assert not re.search(r"q\(|x_", above.measured + below.measured)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_label_of_attention_fits_however_few_words_there_are(count: int) -> None:
    guesses, maps = torch.zeros(4, 32, 32, dtype=torch.uint8), torch.rand(4, count, 32, 32)
    with style():
        figure = draw_attention([f"σ = {k}" for k in range(4)], ["word"] * count, guesses, maps)
        figure.draw_without_rendering()
        [label] = [text for text in figure.findobj(Text) if isinstance(text, Text) and "share" in text.get_text()]
        box = label.get_window_extent()
        assert box.x0 >= figure.bbox.x0 and box.x1 <= figure.bbox.x1


def test_a_table_takes_nothing_for_mathematics(tmp_path: Path) -> None:
    pictures = torch.zeros(2, 8, 8, dtype=torch.uint8)
    cells = [[(pictures, "1 of 2"), (pictures[:0], "")]]
    with style():
        figure = model_figures.draw_picture_table(["a row"], ["$\\nonsense{$", "b"], cells)
        save_figure(tmp_path / "table.png", figure)
    assert "$\\nonsense{$" in words(figure) and "1 of 2" in words(figure)
    assert figure.axes[0].images[0].get_size() == sheet(pictures, 2, gap=6).size[::-1]


def test_the_way_back_over_a_map_ends_at_a_glyph(scene: DemoScene) -> None:
    places, guesses = umap_plane.way_back(scene, scene.plane)
    assert places.shape == guesses.shape == (len(density_score.TIMES), 2)
    assert float((places[-1] - scene.noise(scene.plane[:1])[0]).norm()) < 0.02  # from noise
    assert torch.equal(places[0], guesses[0])
    assert float((scene.plane - places[0]).norm(dim=1).min()) < 0.02  # it follows the score to the data


def test_the_map_is_drawn_above_the_principal_axes(scene: DemoScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap_plane, "umap_plane", lambda *_: scene.plane.flip(0))
    with style():
        drawn = umap_plane.draw_umap(scene)
    assert len(drawn.figure.axes) == 4 * len(density_score.TIMES)
    assert sum(len(axes.findobj(Quiver)) for axes in drawn.figure.axes) == 2 * (len(density_score.TIMES) - 1)
    over_map, on_axes = re.findall(r"(0\.\d{3}(?:, 0\.\d{3}){3})", drawn.measured)
    assert over_map == on_axes  # the same points in another order


@pytest.mark.slow
@pytest.mark.thorough
def test_a_map_keeps_islands_apart(scene: DemoScene) -> None:
    kinds = torch.arange(60) % 3
    pictures = torch.zeros(60, 1, 8, 8)
    for k in range(60):
        pictures[k, 0, 2 * int(kinds[k]), :] = 1
    plane = umap_plane.umap_plane(pictures + 0.05 * eps(60, 64, seed=2).view(60, 1, 8, 8).float(), 0)
    assert plane.shape == (60, 2)
    assert abs(float(plane.square().mean()) - 1) < 1e-9
    middles = torch.stack([plane[kinds == kind].mean(0) for kind in range(3)])
    within = max(float((plane[kinds == kind] - middles[kind]).norm(dim=1).max()) for kind in range(3))
    assert float(torch.pdist(middles).min()) > within

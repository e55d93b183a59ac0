"""One optimizer step after another: draws, order, resuming, averages."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from glyffctl.core import precision
from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.device import CPU, make_deterministic
from glyffctl.core.diffusion.schedule import linear
from glyffctl.core.errors import TrainingError
from glyffctl.core.models.config import Config, fit_to_data, merge, parse, read_preset, read_toml
from glyffctl.core.training import denoising
from glyffctl.core.training.denoising import VALIDATION_SIGMAS, draw_sigmas
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from tests.conftest import Workshop
from tests.pretended_gpu import pretended_gpu


def make_trainer(workshop: Workshop, device: torch.device = CPU, **training: object) -> Trainer:
    glyphs = open_glyphs(workshop.data)
    embeddings = load_embeddings(workshop.data, glyphs.captions)
    sections = merge(read_preset("cpu"), read_toml(workshop.config), {"training": training})
    return Trainer(fit_to_data(sections, glyphs.size, embeddings.width), glyphs, embeddings, device)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.state()[0].items()}


def test_every_glyph_comes_once_an_epoch_and_epochs_differ(workshop: Workshop) -> None:
    trainer = make_trainer(workshop)
    count = trainer.epoch_size
    epochs = [trainer.objective.sample_glyphs(torch.arange(e * count, (e + 1) * count)) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == trainer.objective.train_index.tolist()
    assert not torch.equal(epochs[0], epochs[1])
    across = trainer.objective.sample_glyphs(torch.arange(count - 3, count + 3))
    assert across.tolist() == [*epochs[0][-3:].tolist(), *epochs[1][:3].tolist()]


def test_held_out_characters_are_the_same_in_every_font_and_never_trained_on(workshop: Workshop) -> None:
    trainer = make_trainer(workshop)
    out = held_out(trainer.objective.data.glyphs, 0.1)
    assert 0 < int(out.sum()) < 20
    assert not out[trainer.objective.train_index].any()
    assert bool(out[trainer.objective.validation_index].all())
    larger = held_out(trainer.objective.data.glyphs, 0.3)
    assert bool((larger | ~out).all()), "a larger share holds out the same characters and more"


def test_the_batch_size_does_not_change_what_a_sample_is(workshop: Workshop) -> None:
    trainer = make_trainer(workshop)
    number = torch.arange(12)
    together = float(trainer.loss(number).detach())
    apart = torch.stack([trainer.loss(part).detach() for part in number.split(4)])
    assert together == pytest.approx(float(apart.mean()), rel=1e-5)


def test_steps_share_out_all_samples_with_captions_of_like_length_together(workshop: Workshop) -> None:
    trainer = make_trainer(workshop)
    objective, batch = trainer.objective, trainer.config.training.batch
    steps = [objective.numbers(step) for step in range(16)]
    for window in (steps[:8], steps[8:]):
        seen = torch.cat(window).sort().values
        assert torch.equal(seen, torch.arange(len(seen)) + int(seen[0])), "eight steps see what they saw unsorted"
    assert torch.equal(torch.cat(steps).sort().values, torch.arange(16 * batch))
    assert torch.equal(make_trainer(workshop).objective.numbers(11), steps[11]), "a resumed run needs no step of before"
    sorted_ = sum(objective.batch(number).length for number in steps)
    unsorted = sum(objective.batch(number).length for number in torch.arange(16 * batch).split(batch))
    assert sorted_ < unsorted


def test_on_a_gpu_captions_have_few_lengths(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_gpu(monkeypatch):
        objective = make_trainer(workshop, torch.device("cuda", 0)).objective
        batches = [objective.batch(objective.numbers(step)) for step in range(16)]
    longest = objective.data.embeddings.longest
    assert objective.lengths == tuple(sorted(set(objective.lengths))) and objective.lengths[-1] >= longest
    assert all(length % 8 == 0 for length in objective.lengths)
    here = make_trainer(workshop).objective
    for step, padded in enumerate(batches):
        assert padded.length in objective.lengths
        batch = here.batch(here.numbers(step))
        assert batch.length <= padded.length
        assert all(map(torch.equal, batch.values, padded.values))


def test_padding_changes_no_loss(workshop: Workshop) -> None:
    trainer = make_trainer(workshop)
    batch = trainer.objective.batch(torch.arange(12))
    losses = [
        trainer.objective(*batch.values, length=batch.length + more, autocast=None).detach() for more in (0, 3, 50)
    ]
    for padded in losses[1:]:
        torch.testing.assert_close(padded, losses[0], rtol=1e-5, atol=1e-6)


@pytest.fixture
def determined() -> Iterator[None]:
    switches = [torch.backends.cuda.enable_flash_sdp, torch.backends.cuda.enable_mem_efficient_sdp]
    before = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    make_deterministic()
    yield
    torch.use_deterministic_algorithms(False)
    for switch in (*switches, torch.backends.cuda.enable_cudnn_sdp):
        switch(True)
    if before is None:
        del os.environ["CUBLAS_WORKSPACE_CONFIG"]


@pytest.mark.usefixtures("determined")
def test_kernels_that_repeat_exactly_are_all_a_step_needs(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch.are_deterministic_algorithms_enabled()  # from here on an operation without such a kernel raises
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    make_trainer(workshop).step(0.5)
    with pretended_gpu(monkeypatch):
        make_trainer(workshop, torch.device("cuda", 0)).step(0.5)
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cuda.flash_sdp_enabled()


def test_two_runs_are_the_same_and_another_seed_is_not(workshop: Workshop) -> None:
    first, second, third = make_trainer(workshop), make_trainer(workshop), make_trainer(workshop, seed=1)
    for trainer in (first, second, third):
        for _ in range(3):
            trainer.step(0.5)
    one, same, other = weights(first), weights(second), weights(third)
    for name, tensor in one.items():
        assert torch.equal(tensor, same[name]), name
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_going_on_from_a_state_is_going_on(workshop: Workshop) -> None:
    whole, before = make_trainer(workshop), make_trainer(workshop)
    for _ in range(6):
        whole.step(0.25)
    for _ in range(3):
        before.step(0.25)
    tensors, counters = before.state()
    after = make_trainer(workshop)
    after.restore({name: tensor.clone() for name, tensor in tensors.items()}, counters)
    for _ in range(3):
        after.step(0.25)
    assert after.images == whole.images
    resumed = weights(after)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.thorough
def test_the_loss_falls(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "VALIDATION_SIGMAS", VALIDATION_SIGMAS)  # all of them, see `quick_checkpoints`
    trainer = make_trainer(workshop, learning_rate=2e-3)
    before = finish(trainer.objective.validate(trainer.ema.network, trainer.autocast))
    for _ in range(60):
        trainer.step(0.0)
    after = finish(trainer.objective.validate(trainer.ema.network, trainer.autocast))
    assert before.keys() == after.keys() and len(after) == 8
    assert sum(after.values()) < 0.8 * sum(before.values())


def test_levels_follow_their_law(workshop: Workshop) -> None:
    config = parse(merge(read_preset("cpu")))
    number = torch.arange(200_000)
    logs = draw_sigmas(config, linear(), number).log()
    assert float(logs.mean()) == pytest.approx(config.diffusion.level_mean, abs=0.02)
    assert float(logs.std()) == pytest.approx(config.diffusion.level_std, abs=0.02)
    table: Config = parse(merge(read_preset("glyffuser")))
    sigmas = draw_sigmas(table, linear(), number)
    values, counts = sigmas.unique(return_counts=True)
    assert torch.equal(values, linear().sigmas)
    expected = len(number) / 1000
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_squared - 999) < 5 * (2 * 999) ** 0.5


def test_the_learning_rate_warms_up_and_ends_at_nothing(workshop: Workshop) -> None:
    trainer = make_trainer(workshop)
    assert trainer.learning_rate(0.0) == pytest.approx(trainer.config.training.learning_rate / 2)  # 8 of 16 pictures
    trainer.images = 16
    assert trainer.learning_rate(0.0) == pytest.approx(trainer.config.training.learning_rate)
    assert trainer.learning_rate(0.5) == pytest.approx(trainer.config.training.learning_rate / 2)
    assert trainer.learning_rate(1.0) == 0


@pytest.mark.thorough
def test_captions_are_dropped_at_their_rate(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(workshop)
    kept: list[torch.Tensor] = []
    batch = type(trainer.objective.data.embeddings).batch

    def watch(self: object, index: torch.Tensor, **options: object) -> object:
        kept.append(options["keep"])  # type: ignore[arg-type]
        return batch(self, index, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(trainer.objective.data.embeddings), "batch", watch)
    for start in range(0, 2000, 200):
        trainer.loss(torch.arange(start, start + 200))
    share = 1 - float(torch.cat(kept).float().mean())
    assert share == pytest.approx(0.1, abs=0.02)


def test_a_gradient_that_is_no_number_changes_nothing(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(workshop)
    trainer.step(0.0)
    before = weights(trainer)
    losses = trainer._forward
    monkeypatch.setattr(trainer, "_forward", lambda *values, **options: losses(*values, **options) * float("nan"))
    with pytest.raises(TrainingError, match="not a finite number"):
        trainer.step(0.0)
    for name, tensor in weights(trainer).items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.thorough
@pytest.mark.parametrize(("speedup", "expected"), [(0.1, "fp32"), (4.0, "bf16")])
def test_precision_is_settled_by_the_one_probe_and_leaves_no_trace(
    workshop: Workshop, speedup: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_speedup", lambda _: speedup)
    trainer, plain = make_trainer(workshop, precision="auto"), make_trainer(workshop)
    trainer.choose_precision()
    assert trainer.precision == expected and plain.precision == "fp32"
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(trainer)[name]), name


def test_nothing_left_to_train_on(workshop: Workshop) -> None:
    with pytest.raises(TrainingError, match="no glyph is left"):
        make_trainer(workshop, holdout=0.9999999)


def test_the_run_folder_of_a_finished_run(tiny_run: Path) -> None:
    names = {path.name for path in tiny_run.iterdir()} - {".lock"}
    written = {"config.json", "state.safetensors", "model.safetensors", "entropic.toml", "log.jsonl", "samples"}
    assert names == written | {"README.md"}
    assert [path.name for path in sorted((tiny_run / "samples").iterdir())] == [
        "000000032.png",
        "000000064.png",
        "000000096.png",
    ]


def test_what_is_frozen_keeps_its_weights_and_the_rest_learns(workshop: Workshop) -> None:
    trainer = make_trainer(workshop, freeze=1, optimizer="muon")
    inner = trainer.config.network.inner(1)
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    for _ in range(4):
        trainer.step(0.0)
    changed = {name for name, tensor in trainer.network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if not name.startswith(inner)}
    assert all(any(name.startswith(prefix) for name in before) for prefix in inner)
    tensors, counters = trainer.state()
    other = make_trainer(workshop, freeze=1, optimizer="muon")
    other.restore({name: tensor.clone() for name, tensor in tensors.items()}, counters)
    for each in (trainer, other):
        each.step(0.0)
    for name, tensor in weights(other).items():
        assert torch.equal(tensor, weights(trainer)[name]), name

"""Few-step students: made by `train --preset few-step`, kept beside their model, drawn with by `sample`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import glyffctl
from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import CPU
from glyffctl.core.errors import ModelError, TrainingError, UsageError
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import MODEL_FILE, load_model, load_state, save_model
from glyffctl.core.models.config import as_dict, fit_to_data, merge, read_preset
from glyffctl.core.models.drawer import Drawer
from glyffctl.core.models.few_step import pack, unpack
from glyffctl.core.models.files import FEW_STEP_FILE
from glyffctl.core.models.recipe import FEW_STEPS, PASSES, Recipe
from glyffctl.core.networks.student import Student
from glyffctl.core.noise import normal
from glyffctl.core.training.distillation import Distillation
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.events import finish
from glyffctl.workflows.models import choose_recipe
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from glyffctl.workflows.train import TrainOptions, train
from tests.command_line import app
from tests.conftest import Workshop, follow, stop_at_checkpoint
from tests.pretended_gpu import pretended_gpu
from tests.recorded_graph import recorded_graphs

SETTINGS = """
[training]
batch = 8
warmup = 0
precision = "fp32"
learning_rate = 3e-3
ema_decay = 0.5
checkpoint_every = 32

[few_step]
rank = 4
substeps = 1
passes = 4
"""
IMAGES = 64


def options(workshop: Workshop, out: Path, start: Path | None, images: int = IMAGES) -> TrainOptions:
    settings = out.with_suffix(".toml")
    settings.write_text(SETTINGS, encoding="utf-8")
    return TrainOptions(
        data=workshop.data,
        out=out,
        gpus=0,
        preset="few-step",
        config=settings,
        start=start,
        overrides={"images": images},
    )


def distil(workshop: Workshop, out: Path, start: Path | None, images: int = IMAGES) -> list[Any]:
    events, _ = follow(train(options(workshop, out, start, images)))
    return events


@pytest.fixture(scope="module")
def run(workshop: Workshop, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("students") / "run"
    distil(workshop, out, tiny_run)
    return out


def test_at_first_a_student_answers_as_its_teacher(tiny_run: Path) -> None:
    teacher = load_model(tiny_run).network
    student = Student(teacher, rank=4)
    z = normal(0, torch.arange(3), (1, 32, 32), stream=0)
    sigma, target = torch.full((3,), 2.0, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    condition = load_condition(teacher)
    answer = student(z, sigma, student.encode(condition), target, torch.full_like(sigma, 4))
    assert torch.equal(answer, teacher(z, sigma, teacher.encode(condition)))


def load_condition(network: Any) -> Any:
    from tests.toys import captions

    condition = captions(3, network.text_width if isinstance(network, Drawer) else network.config.text_width)
    return condition._replace(tokens=condition.tokens.float())


def test_a_merged_student_is_the_student(run: Path) -> None:
    few = load_model(run).few_step
    assert few is not None
    z = normal(0, torch.arange(3), (1, 32, 32), stream=0)
    sigma, target = torch.full((3,), 2.0, dtype=torch.float64), torch.full((3,), 0.7, dtype=torch.float64)
    guidance, condition = torch.tensor([1.0, 3.0, 8.0], dtype=torch.float64), load_condition(few.student)
    answers = [network(z, sigma, network.encode(condition), target, guidance) for network in (few.student, few.network)]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-5, atol=1e-6)
    assert not torch.equal(answers[0][1], answers[0][2]), "guidance is told to it"


def test_a_packed_student_is_the_student_to_a_hundredth(run: Path) -> None:
    few = load_model(run).few_step
    assert few is not None
    weights = {
        name: tensor + 1e-3 * normal(0, torch.tensor([0]), tuple(tensor.shape), stream=0)[0]
        for name, tensor in few.student.state_dict().items()
    }
    packed = pack(weights)
    for name, tensor in unpack(packed).items():
        assert float((tensor - weights[name]).abs().max()) <= 0.004 * float(weights[name].abs().max()) + 1e-9, name
    factors = {tensor.dtype for name, tensor in packed.items() if name.startswith(("left.", "right."))}
    assert factors == {torch.int8, torch.float32}


@pytest.mark.thorough
def test_training_goes_on_from_the_student_that_a_model_has(workshop: Workshop, run: Path, tiny_run: Path) -> None:
    trained = load_model(run).few_step
    assert trained is not None
    goes_on = student_trainer(workshop, run, CPU)
    assert goes_on.objective.images_before == IMAGES
    for name, tensor in trained.student.state_dict().items():
        assert torch.equal(goes_on.network.state_dict()[name], tensor), name
    other_rank = student_trainer(workshop, run, CPU, rank=3)
    anew = student_trainer(workshop, tiny_run, CPU, rank=3)
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(
            other_rank.network.state_dict().values(), anew.network.state_dict().values(), strict=True
        )
    )


@pytest.mark.thorough
def test_what_a_student_was_shown_before_counts_once(workshop: Workshop, run: Path, tmp_path: Path) -> None:
    for images in (16, 32):  # begun, and resumed
        distil(workshop, tmp_path / "more", run, images)
        student = load_model(tmp_path / "more").few_step
        assert student is not None and student.images == IMAGES + images


@pytest.mark.slow
@pytest.mark.thorough
def test_a_student_learns(workshop: Workshop, tiny_run: Path) -> None:
    trainer = student_trainer(workshop, tiny_run, CPU)
    before = finish(trainer.objective.validate(trainer.ema.network, None))
    for step in range(120):
        trainer.step(step / 120)
    after = finish(trainer.objective.validate(trainer.ema.network, None))
    assert set(before) == {1.0, 2.0, 4.0, 8.0}
    assert after[4.0] < 0.7 * before[4.0] and after[2.0] < before[2.0] and after[1.0] < before[1.0]


def test_the_model_beside_a_student_is_its_teacher(run: Path, tiny_run: Path) -> None:
    student, teacher = load_model(run), load_model(tiny_run)
    assert student.identity == teacher.identity and teacher.few_step is None
    assert student.few_step is not None and student.few_step.images == IMAGES and student.few_step.passes == 4
    assert (run / FEW_STEP_FILE).stat().st_size < (run / MODEL_FILE).stat().st_size / 2


@pytest.mark.parametrize("passes", [None, *PASSES])
def test_sample_draws_with_the_student(run: Path, tmp_path: Path, passes: int | None) -> None:
    out = tmp_path / "x.png"
    job = ["sample", "gold", "--count", "2", "--model", str(run), "--out", str(out)]
    done = CliRunner().invoke(app, job if passes is None else [*job, "--passes", str(passes)])
    assert done.exit_code == 0, done.output
    expected = Recipe(sampler="few-step", steps=passes or 4)
    assert read_settings(out)["recipe"] == expected.as_plain()
    assert expected.summary() in " ".join(done.stderr.split())
    finish(sample(options_from_picture(out)))
    assert (tmp_path / "x-again.png").read_bytes() == out.read_bytes()


def test_a_picture_of_another_student_is_not_redrawn(run: Path, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    finish(sample(SampleOptions(prompts=("gold",), model=run, count=1, out=out)))
    with pytest.raises(UsageError, match="few-step"):
        finish(sample(options_from_picture(out, model=tiny_run)))
    finish(sample(SampleOptions(prompts=("gold",), model=run, count=1, recipe=Recipe(steps=2), out=out)))
    finish(sample(options_from_picture(out, model=tiny_run)))  # the whole model is the same
    with Image.open(out) as drawn, Image.open(tmp_path / "x-again.png") as again:
        assert drawn.tobytes() == again.tobytes()


def test_what_a_student_cannot_do_the_whole_model_does(run: Path) -> None:
    model = load_model(run)
    own = Recipe(sampler="few-step", steps=4)
    assert choose_recipe(model, None, 7.0) == replace(own, guidance=7.0)
    assert choose_recipe(model, None, 4.0, negative=True) == FEW_STEPS
    assert choose_recipe(model, None, 12.0) == replace(FEW_STEPS, guidance=12.0)
    assert choose_recipe(model, Recipe(steps=3), 5.0) == Recipe(steps=3, guidance=5.0)
    for recipe, guidance, negative in ((own, 12.0, False), (own, 4.0, True), (replace(own, steps=3), 4.0, False)):
        with pytest.raises(UsageError, match="--passes"):
            choose_recipe(model, recipe, guidance, negative=negative)
    assert model.few_step is not None
    shy = replace(model, few_step=replace(model.few_step, passes=0))
    assert choose_recipe(shy, None, None) == FEW_STEPS and choose_recipe(shy, own, None) == own
    bare = replace(model, few_step=None)
    assert choose_recipe(bare, None, None) == FEW_STEPS
    with pytest.raises(UsageError, match="--preset few-step"):
        choose_recipe(bare, own, None)


def test_passes_and_steps_are_not_given_together(run: Path) -> None:
    for typed in (["--steps", "3"], ["--sampler", "ddim"], ["--interval", "0", "5"]):
        done = CliRunner().invoke(app, ["sample", "gold", "--model", str(run), "--passes", "4", *typed])
        assert done.exit_code == 2 and typed[0] in done.output


@pytest.mark.thorough
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    workshop: Workshop, run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    """In the middle of trajectories that many steps share, and without --from: its teacher lies beside it."""
    out = tmp_path / "run"
    stop_at_checkpoint(train(options(workshop, out, tiny_run)))
    distil(workshop, out, None)
    ended, alone = load_state(out), load_state(run)
    assert ended is not None and alone is not None
    for name, tensor in alone[0].items():
        assert torch.equal(ended[0][name], tensor), name
    models = [load_model(folder) for folder in (out, run)]
    students = [model.few_step for model in models]
    assert students[0] is not None and students[1] is not None
    assert students[0].identity == students[1].identity and models[0].identity == models[1].identity


def test_the_sheet_of_a_checkpoint_is_drawn_by_the_student(run: Path) -> None:
    settings = read_settings(run / "samples" / f"{IMAGES:09d}.png")
    assert (settings["sampler"], settings["steps"]) == ("few-step", 4)


@pytest.mark.thorough
def test_a_student_takes_the_vectors_of_its_teacher(workshop: Workshop, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--encoder"):
        finish(train(replace(options(workshop, tmp_path / "run", tiny_run), encoder="bundled")))


@pytest.mark.thorough
def test_drawing_twice_in_bfloat16_is_the_same(run: Path) -> None:
    """The second time with narrowed weights."""
    drawer = Drawer.of(load_model(run), CPU, precision="bf16")
    drawn = [
        finish(drawer.draw(Recipe(sampler="few-step", steps=2), load_condition(drawer), torch.arange(3)))
        for _ in range(2)
    ]
    assert torch.equal(*drawn)


@pytest.mark.thorough
def test_the_library_chooses_as_the_command_does(run: Path, tmp_path: Path) -> None:
    model = glyffctl.load(run, precision="fp32")
    plain, away = (model.draw("gold", negative=text)[0].tobytes() for text in ("", "water"))
    assert plain != away
    for guidance, negative in ((9.0, ""), (4.0, "water")):
        with pytest.raises(UsageError, match="--passes"):
            model.draw("gold", recipe=Recipe(sampler="few-step", steps=4, guidance=guidance), negative=negative)


def test_without_a_teacher_there_is_no_student(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises((UsageError, TrainingError), match="--from"):
        distil(workshop, tmp_path / "run", None)


@pytest.mark.thorough
def test_another_teacher_in_the_same_folder_is_refused(
    workshop: Workshop, run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    other = load_model(tiny_run)
    with torch.no_grad():
        next(other.network.parameters()).add_(1)
    save_model(tmp_path / "other" / MODEL_FILE, other)
    copied = shutil.copytree(run, tmp_path / "run")
    with pytest.raises(TrainingError, match="teacher"):
        distil(workshop, copied, tmp_path / "other")


@pytest.mark.parametrize("damage", ["cut", "flipped", "of another model", "of random bytes"])
def test_a_damaged_student_is_one_line(run: Path, tiny_run: Path, tmp_path: Path, damage: str) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    file = copied / FEW_STEP_FILE
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[-3] ^= 255
    elif damage == "of random bytes":
        content = bytearray(bytes(range(256)) * 40)
    else:
        other = load_model(tiny_run)
        with torch.no_grad():
            next(other.network.parameters()).add_(1)
        save_model(copied / MODEL_FILE, other)
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"few-step\.safetensors") as caught:
        load_model(copied)
    assert "\n" not in str(caught.value)


def student_trainer(workshop: Workshop, teacher: Path, device: torch.device, rank: int = 4) -> Trainer:
    model = load_model(teacher)
    glyphs = open_glyphs(workshop.data)
    cached = load_embeddings(workshop.data, glyphs.captions)
    settings = as_dict(model.origin.config)
    own: dict[str, dict[str, Any]] = {
        "training": {"batch": 8, "precision": "fp32", "learning_rate": 1e-3, "warmup": 0, "ema_decay": 0.9},
        "few_step": {"substeps": 1, "rank": rank},
    }
    sections = merge(read_preset("few-step"), {name: settings[name] for name in ("network", "codec", "diffusion")}, own)
    return Trainer(fit_to_data(sections, glyphs.size, cached.width), glyphs, cached, device, teacher=model)


@pytest.mark.thorough
def test_what_is_kept_counts_as_memory(workshop: Workshop, tiny_run: Path) -> None:
    objective = student_trainer(workshop, tiny_run, CPU).objective
    assert isinstance(objective, Distillation)
    for step in range(18):
        objective.batch(objective.numbers(step))
    kept = sum(states.numel() for states in objective._drawn.values())
    assert kept == objective.held_numbers(objective.config, 0)


def test_trajectories_do_not_depend_on_how_a_batch_is_shared(workshop: Workshop, tiny_run: Path) -> None:
    """A process of a job draws those of its samples, and a resumed run those that it needs."""
    objective = student_trainer(workshop, tiny_run, CPU).objective
    whole = objective.batch(objective.numbers(37))
    half = objective.batch(objective.numbers(37)[4:])
    for together, apart in zip(whole.values, half.values, strict=True):
        torch.testing.assert_close(together[4:], apart, rtol=1e-4, atol=1e-4)
    jumps = set[tuple[float, float]]()
    captions = set[tuple[int, ...]]()
    for step in range(0, 16 * 16, 16):
        caption, *_ = objective.batch(objective.numbers(step)).values
        sigma, target = objective.batch(objective.numbers(step)).values[3:5]
        captions.add(tuple(caption.tolist()))
        jumps |= set(zip(sigma.tolist(), target.tolist(), strict=True))
    assert len(captions) == 1 and len(jumps) == 13, "the turns of a group make every jump"


@pytest.mark.thorough
@pytest.mark.parametrize("steps", [2, pytest.param(17, marks=pytest.mark.slow)])
def test_captured_steps_of_a_student_are_plain_steps(
    workshop: Workshop, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """On a GPU that is pretended; 17 go over the end of the first turn of all trajectories."""
    usual = student_trainer(workshop, tiny_run, CPU)
    expected = [usual.step(0.5) for _ in range(steps)]
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        captured = student_trainer(workshop, tiny_run, torch.device("cuda", 0))
        assert finish(captured.prepare()) == (), "steps are captured"
        for step in expected:
            other = captured.step(0.5)
            torch.testing.assert_close(other.loss.cpu(), step.loss, rtol=1e-3, atol=1e-5)

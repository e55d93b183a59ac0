"""`glyffctl train` as a workflow: run folders, going on, being stopped, what is refused."""

import itertools
import json
import math
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import Tensor

from glyffctl.core.errors import (
    DataError,
    EmbeddingError,
    GlyffError,
    ModelError,
    OutputError,
    TrainingError,
    UsageError,
)
from glyffctl.core.models import checkpoint
from glyffctl.core.models.checkpoint import load_model, load_state
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.training.objective import Batch
from glyffctl.core.training.trainer import Trainer
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.run_log import RunLog
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions
from glyffctl.workflows.train import TrainOptions, show_settings, train
from tests.command_line import app
from tests.conftest import Workshop, crashed, follow, of_kind, stop_at_checkpoint
from tests.stand_ins import make_t5


def options(workshop: Workshop, out: Path, **overrides: object) -> TrainOptions:
    return TrainOptions(data=workshop.data, config=workshop.config, gpus=0, out=out, overrides=dict(overrides))


def log(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_log_has_what_a_reader_needs(tiny_run: Path) -> None:
    rows = log(tiny_run)
    steps = [row for row in rows if "loss" in row]
    assert steps and set(steps[-1]) == {
        "images", "loss", "learning_rate", "gradient", "images_per_second", "seconds",
    }  # fmt: skip
    assert steps[-1]["images"] == 96
    validations = [row for row in rows if "validation" in row]
    assert [row["images"] for row in validations] == [32, 64, 96]


def test_a_run_that_is_stopped_and_started_again_ends_the_same(
    workshop: Workshop, tmp_path: Path, tiny_run: Path
) -> None:
    out = tmp_path / "run"
    stop_at_checkpoint(train(options(workshop, out)))
    report = finish(train(options(workshop, out)))
    assert report is not None and report.images == 96
    ended, alone = load_state(out), load_state(tiny_run)
    assert ended is not None and alone is not None
    assert ended[0].keys() == alone[0].keys()
    for name, tensor in alone[0].items():
        assert torch.equal(ended[0][name], tensor), name
    assert load_model(out).identity == load_model(tiny_run).identity
    assert [row["images"] for row in log(out) if "validation" in row] == [32, 64, 96]


@pytest.mark.thorough
def test_a_run_with_muon_goes_on_exactly_too(workshop: Workshop, tmp_path: Path) -> None:
    runs = [replace(options(workshop, tmp_path / name, images=64), overrides={"images": 64, "optimizer": "muon"})
            for name in ("alone", "stopped")]  # fmt: skip
    finish(train(runs[0]))
    stop_at_checkpoint(train(runs[1]))
    finish(train(runs[1]))
    assert load_model(tmp_path / "alone").identity == load_model(tmp_path / "stopped").identity


def test_a_finished_run_says_so_and_a_larger_budget_goes_on(workshop: Workshop, tmp_path: Path, tiny_run: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out)
    events, report = follow(train(options(workshop, out)))
    assert report is not None and report.images == 96
    assert of_kind(events, "budget-spent")
    longer = finish(train(options(workshop, out, images=104)))
    assert longer is not None and longer.images == 104


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_saves_and_leaves(workshop: Workshop, tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "glyffctl", "train", "--gpus", "0", "--data", str(workshop.data)]
    command += [
        "--config",
        str(workshop.config),
        "--out",
        str(out),
        "--images",
        "1000000",
        "--checkpoint-every",
        "999999",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if (out / "log.jsonl").exists() and (out / "log.jsonl").read_text():
                break
            time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, errors
    assert "everything is saved" in errors and not crashed(errors)
    state = load_state(out)
    assert state is not None and state[1]["images"] > 0
    assert load_model(out).images == state[1]["images"]


def test_captions_are_embedded_first_where_that_was_not_done(workshop: Workshop, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(workshop.data, data)
    (data / "embeddings.safetensors").unlink()
    asked = replace(options(workshop, tmp_path / "run", images=8), data=data, encoder=str(workshop.encoder))
    finish(train(asked))
    assert (data / "embeddings.safetensors").exists()


def test_another_run_in_the_folder_is_named_not_overwritten(workshop: Workshop, tmp_path: Path, tiny_run: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out)
    with pytest.raises(TrainingError, match=r"training\.batch \(8 there, 16 now\)"):
        finish(train(options(workshop, out, batch=16)))
    assert load_model(out).identity == load_model(tiny_run).identity


def test_a_machine_without_gpu_says_so_and_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    events, _ = follow(train(replace(options(workshop, tmp_path / "run", images=8), gpus=1)))
    assert of_kind(events, "no-gpu")


@pytest.mark.thorough
def test_a_schedule_that_keeps_brightness_is_mentioned(
    workshop: Workshop, tmp_path: Path, noto_sans: Path, unihan: Path
) -> None:
    """The linear schedule is noisy enough for 128×128 pictures of paper, and not for larger ones."""
    data, config = tmp_path / "data", tmp_path / "large.toml"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=256, ranges="4E00-4E10", out=data)))
    text = workshop.config.read_text().replace("patch = 4", "patch = 32")
    for schedule, mentioned in (("linear", True), ("cosine", False)):
        config.write_text(f'{text}\n[diffusion]\nschedule = "{schedule}"\n')
        asked = replace(options(workshop, tmp_path / schedule, images=8), data=data, config=config)
        events, _ = follow(train(replace(asked, encoder=str(workshop.encoder))))
        assert bool(of_kind(events, "brightness-left")) == mentioned


def test_settings_shown_are_settings_read(workshop: Workshop, tmp_path: Path) -> None:
    shown = tmp_path / "shown.toml"
    shown.write_text(show_settings(options(workshop, tmp_path)))
    assert show_settings(replace(options(workshop, tmp_path), config=shown)) == shown.read_text()


def test_tensorboard_names_what_losses_are_measured_by(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = RunLog(tmp_path, tensorboard=True, validated="passes")
    log.write({"images": 8, "loss": 0.5, "validation": {4.0: 0.25}})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= {"loss", "validation/passes 4"}


def test_tensorboard_on_request(workshop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "run"
    finish(train(replace(options(workshop, out, images=8), tensorboard=True)))
    assert list((out / "tensorboard").glob("events.*"))


def corrupt(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def test_what_cannot_be_trained_is_one_line_that_says_what_to_do(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, noto_sans: Path, unihan: Path
) -> None:
    base = options(workshop, tmp_path / "run")
    other_data = tmp_path / "other"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, size=32, ranges="4E50-4E60", out=other_data)))
    shutil.copy(workshop.data / "embeddings.safetensors", other_data)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    file = tmp_path / "file"
    file.write_text("")
    cut = tmp_path / "cut"
    shutil.copytree(tiny_run, cut)
    corrupt(cut / "state.safetensors", 0.7)
    garbled = tmp_path / "garbled"
    shutil.copytree(tiny_run, garbled)
    (garbled / "config.json").write_text("{")
    wide = tmp_path / "wide.toml"
    wide.write_text(workshop.config.read_text().replace("[network]", "[network]\ntext_width = 512"))
    large = tmp_path / "large.toml"
    large.write_text(workshop.config.read_text().replace("[network]", "[codec]\nsize = 64\n\n[network]"))
    deep = tmp_path / "deep.toml"
    deep.write_text(workshop.config.read_text().replace("[network]", "[network]\nblocks = 1_000_000"))

    cases: list[tuple[TrainOptions, type[GlyffError], str]] = [
        (replace(base, data=tmp_path / "nowhere"), DataError, "glyffctl prepare"),
        (replace(base, data=other_data), EmbeddingError, "glyffctl embed"),
        (replace(base, out=foreign), OutputError, "--out"),
        (replace(base, out=file), OutputError, "--out"),
        (replace(base, out=file / "below"), OutputError, "--out"),
        (replace(base, out=cut), ModelError, "cut short"),
        (replace(base, out=garbled), ModelError, "JSON"),
        (replace(base, gpus=3), UsageError, "--gpus"),
        (replace(base, preset="huge"), UsageError, "cpu"),
        (replace(base, config=wide), TrainingError, "512"),
        (replace(base, overrides={"batch": 0}), UsageError, "batch"),
        (replace(base, overrides={"batch": 10**9}), TrainingError, "this machine has"),
        (replace(base, config=deep), UsageError, "deep.toml"),
        (replace(base, encoder=str(tmp_path / "no-encoder")), EmbeddingError, "no-encoder"),
    ]
    for asked, kind, words in cases:
        with pytest.raises(kind) as caught:
            finish(train(asked))
        assert words in str(caught.value), caught.value
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.tmp"))
    # A stated size makes the pictures be read at that size: the data folder is resized, not refused.
    finish(train(replace(base, config=large, out=tmp_path / "large", overrides={"images": 8})))


@pytest.mark.hostile
def test_a_batch_that_memory_cannot_hold_is_one_line(workshop: Workshop, tmp_path: Path) -> None:
    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    asked = {
        "data": workshop.data,
        "config": workshop.config,
        "out": tmp_path / "run",
        "batch": 30_000,
        "images": 30_000,
    }
    command = [sys.executable, "-m", "glyffctl", "train", "--gpus", "0"]
    command += [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=little_memory, check=False)
    assert done.returncode == 1 and not crashed(done.stderr), done.stderr
    assert "not enough memory; make --batch" in done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()
    # What the line says can be done: nothing has been learned that the same folder would have to keep.
    report = finish(train(options(workshop, tmp_path / "run", images=8)))
    assert report and report.images == 8


PREDICTIONS, WEIGHTINGS = ("eps", "v", "x0"), ("simple", "v", "min-snr", "x0", "eps")
SCHEDULES = (("linear", "table"), ("cosine", "table"), ("karras", "lognormal"))
DAILY = list(zip(PREDICTIONS, SCHEDULES, WEIGHTINGS, strict=False))  # each of the first three once
WAYS = [
    pytest.param(prediction, *schedule, weighting, marks=() if way in DAILY else pytest.mark.thorough)
    for way in itertools.product(PREDICTIONS, SCHEDULES, WEIGHTINGS)
    for prediction, schedule, weighting in [way]
]


@pytest.mark.parametrize(("prediction", "schedule", "levels", "weighting"), WAYS)
def test_every_way_to_learn_trains_and_draws(
    workshop: Workshop, tmp_path: Path, prediction: str, schedule: str, levels: str, weighting: str
) -> None:
    config = tmp_path / "way.toml"
    way = {"prediction": prediction, "schedule": schedule, "levels": levels, "weighting": weighting}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in way.items())
    config.write_text(f"{workshop.config.read_text()}\n[diffusion]\n{lines}")
    out = tmp_path / "run"
    finish(train(replace(options(workshop, out, images=16, checkpoint_every=1000), config=config)))
    assert all(torch.isfinite(torch.tensor(row.get("loss", 0.0))) for row in log(out))
    # Samplers and guidance are another test's; here the picture only has to be one.
    asked = SampleOptions(
        prompts=("",), model=out, recipe=Recipe(sampler="ddpm", steps=4), count=1, out=tmp_path / "x.png"
    )
    assert finish(sample(asked)).files == [tmp_path / "x.png"]


def test_a_new_run_starts_from_the_weights_of_a_model(workshop: Workshop, tmp_path: Path, tiny_run: Path) -> None:
    out = tmp_path / "run"
    start = replace(options(workshop, out, images=8, learning_rate=1e-12), start=tiny_run)
    [loaded] = of_kind(follow(train(start))[0], "weights-loaded")
    assert loaded.facts == {"model": tiny_run, "images": 96}
    before, after = load_model(tiny_run), load_model(out)
    assert after.images == before.images + 8
    assert before.epochs is not None and after.epochs == pytest.approx(before.epochs * (1 + 8 / before.images))
    for name, tensor in before.network.state_dict().items():
        assert torch.allclose(after.network.state_dict()[name], tensor, atol=1e-9), name
    assert "starting from weights that had seen 96" in (out / "README.md").read_text()
    # What was in the folder counts, not what it was started from; and the sum of pictures outlives a stop.
    finish(train(replace(start, overrides={"images": 16, "learning_rate": 1e-12})))
    assert load_model(out).images == before.images + 16


def test_a_style_is_learned_beside_frozen_weights(workshop: Workshop, tmp_path: Path, tiny_run: Path) -> None:
    out, command = tmp_path / "run", ["train", "--gpus", "0", "--data", str(workshop.data), "--freeze", "1"]
    command += ["--config", str(workshop.config), "--batch", "8", "--checkpoint-every", "8"]
    done = CliRunner().invoke(app, [*command, "--images", "8", "--out", str(out)])
    assert done.exit_code == 2 and "--freeze keeps" in done.stderr and "--from" in done.stderr
    assert not out.exists()
    transformer = ["train", "--gpus", "0", "--data", str(workshop.data), "--freeze", "1", "--preset", "dit"]
    done = CliRunner().invoke(app, [*transformer, "--images", "8", "--out", str(out)])
    assert done.exit_code == 2 and "for U-Nets that denoise" in done.stderr
    done = CliRunner().invoke(app, [*command, "--images", "8", "--out", str(out), "--from", str(tiny_run)])
    assert done.exit_code == 0, done.stderr
    done = CliRunner().invoke(app, [*command, "--images", "16", "--out", str(out)])  # resumed without --from
    assert done.exit_code == 0 and "resuming at 8" in done.stderr, done.stderr
    before, after = load_model(tiny_run).network, load_model(out).network
    inner = before.config.inner(1)
    for name, tensor in after.state_dict().items():
        assert torch.equal(tensor, before.state_dict()[name]) == name.startswith(inner), name


def test_another_encoder_of_the_same_width_is_told(workshop: Workshop, tmp_path: Path, tiny_run: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(workshop.data, data)
    other = make_t5(tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    finish(embed(EmbedOptions(data=data, encoder=str(other))))
    start = replace(options(workshop, tmp_path / "run", images=8), data=data, start=tiny_run)
    assert of_kind(follow(train(start))[0], "encoder-changed")
    assert load_model(tmp_path / "run").origin.encoder.name == str(other)


def test_a_model_of_another_width_is_no_start(workshop: Workshop, tmp_path: Path, tiny_run: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(workshop.data, data)
    finish(embed(EmbedOptions(data=data, encoder=str(make_t5(tmp_path / "other", width=16)))))
    start = replace(options(workshop, tmp_path / "run"), data=data, start=tiny_run)
    with pytest.raises(TrainingError, match="trained with the text encoder"):
        finish(train(start))
    with pytest.raises(ModelError, match="does not exist"):
        finish(train(replace(start, start=tmp_path / "nowhere")))
    assert not (tmp_path / "run").exists()


def poison(monkeypatch: pytest.MonkeyPatch, moments: list[int]) -> None:
    """Make the gradient at these numbers of pictures NaN, once for each time a number is there."""
    honest = Trainer._batch

    def batch(self: Trainer, number: Tensor) -> Batch:
        drawn = honest(self, number)
        if self.images not in moments:
            return drawn
        moments.remove(self.images)
        *values, weight = drawn.values
        return Batch((*values, weight * math.nan), drawn.length)

    monkeypatch.setattr(Trainer, "_batch", batch)


@pytest.mark.thorough
def test_weights_that_are_no_numbers_are_given_up_after_some_tries(workshop: Workshop, tmp_path: Path) -> None:
    """A state from elsewhere may hold them where no gradient shows it: each checkpoint refuses, and so does the run."""
    out = tmp_path / "run"
    finish(train(options(workshop, out, images=16)))
    tensors, counters = checkpoint.load_state(out) or ({}, {})
    name = next(name for name in tensors if name.startswith("ema.") and name.endswith("conv_out.bias"))
    tensors[name].fill_(math.nan)
    checkpoint.save_state(out, tensors, counters)
    with pytest.raises(TrainingError, match=r"a weight was not a finite number .* 3 times in a row"):
        finish(train(options(workshop, out, images=64)))


@pytest.mark.thorough
def test_a_gradient_that_is_no_number_is_gone_back_from(
    workshop: Workshop, tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice before the first checkpoint, once after it: the run ends with the same weights as one without."""
    poison(monkeypatch, [8, 24, 72])
    events, report = follow(train(options(workshop, tmp_path / "run")))
    assert [event.facts["images"] for event in of_kind(events, "rolled-back")] == [0, 0, 64]
    assert report is not None and report.images == 96
    assert load_model(tmp_path / "run").identity == load_model(tiny_run).identity
    images = [row["images"] for row in log(tmp_path / "run") if "loss" in row]
    assert len(images) == len(set(images))


@pytest.mark.thorough
def test_the_third_time_in_a_row_it_stops_and_says_why(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, [40, 40, 40])
    with pytest.raises(TrainingError, match=r"after 40 pictures, 3 times in a row.*learning_rate"):
        finish(train(options(workshop, tmp_path / "run")))
    state = load_state(tmp_path / "run")
    assert state is not None and state[1]["images"] == 32
    assert all(bool(tensor.isfinite().all()) for tensor in state[0].values() if tensor.is_floating_point())
    assert load_model(tmp_path / "run").images == 32


@pytest.mark.thorough
def test_a_second_train_in_the_same_folder_leaves(workshop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = train(options(workshop, out, images=64))
    for event in first:
        if of_kind([event], "checkpoint"):
            break
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(TrainingError, match="another `train` is running"):
        finish(train(options(workshop, out, images=64)))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    first.close()
    report = finish(train(options(workshop, out, images=64)))
    assert report is not None and report.images == 64

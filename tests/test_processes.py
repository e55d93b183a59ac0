"""Several processes walk the path of one; when one of them ends, all do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.io.tensors import load_tensors
from glyffctl.core.models.checkpoint import load_model, load_state
from glyffctl.core.training.distributed import SINGLE_PROCESS, ProcessInfo, in_job, process_info
from tests.conftest import Workshop, crashed

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def torchrun(processes: int, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--rdzv-backend=c10d",
            "--rdzv-endpoint=localhost:0", *arguments]  # fmt: skip


def run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, cwd=cwd)


def twenty_steps(workshop: Workshop, out: Path, processes: int, first: Path | None = None) -> list[Path]:
    """What each process of a job ended with."""
    out.mkdir()
    job = [str(Path(__file__).with_name("job.py")), str(workshop.data), str(workshop.config), str(out)]
    command = torchrun(processes, *job, *([str(first)] if first else []))
    done = run(command, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    return sorted(out.glob("*.safetensors"))


def ended(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return load_tensors(path, "job", ModelError)


@pytest.mark.thorough
@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_several_processes_walk_the_path_of_one(workshop: Workshop, tmp_path: Path, processes: int) -> None:
    """In float64 only rounding is left between them: 1e-10. A batch of 10 is shared unevenly by four."""
    (single,) = twenty_steps(workshop, tmp_path / "1", 1)
    alone, told = ended(single)
    ends = [ended(path) for path in twenty_steps(workshop, tmp_path / str(processes), processes)]
    assert len(ends) == processes
    for tensors, header in ends:
        assert tensors.keys() == alone.keys()
        # Weights, their average and the optimizer's moments, in every process.
        worst = max(float((tensors[name] - alone[name]).abs().max()) for name in alone)
        print(f"{processes} processes: {worst:.1e}")
        assert worst < 1e-10
        assert header["losses"] == pytest.approx(told["losses"], abs=1e-12)
    seen = sorted(number for _, header in ends for number in header["seen"])
    assert seen == sorted(told["seen"]) and len(set(seen)) == 200


@pytest.mark.slow
@pytest.mark.thorough
def test_a_checkpoint_of_two_goes_on_in_one_and_in_four(workshop: Workshop, tmp_path: Path) -> None:
    start = twenty_steps(workshop, tmp_path / "start", 2)[0]
    ends = [ended(twenty_steps(workshop, tmp_path / str(count), count, start)[0]) for count in (1, 2, 4)]
    for tensors, header in ends[1:]:
        assert header["images"] == 400
        assert max(float((tensors[name] - ends[0][0][name]).abs().max()) for name in tensors) < 1e-10


def glyffctl(workshop: Workshop, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "glyffctl", "train", "--data", str(workshop.data), "--config", str(workshop.config),
            "--preset", "cpu", "--out", str(out), *more]  # fmt: skip


@pytest.mark.thorough
def test_gpus_2_starts_two_processes_and_tells_once(workshop: Workshop, tmp_path: Path, tiny_run: Path) -> None:
    """Without a GPU: two on the CPU. The run folder is that of one process, but for rounding."""
    out = tmp_path / "run"
    command = glyffctl(workshop, out, "--gpus", "2", "--json")
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 96  # one line, of one process
    two, one = load_model(out), load_model(tiny_run)
    assert two.images == one.images == 96
    weights = one.network.state_dict()
    for name, tensor in two.network.state_dict().items():
        assert torch.allclose(tensor, weights[name], atol=1e-3), name
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows if "validation" in row] == [32, 64, 96]
    again = run(glyffctl(workshop, out, "--gpus", "0", "--images", "104"))
    assert again.returncode == 0 and "resuming at 96 pictures" in again.stderr


def family(parent: psutil.Process, count: int) -> list[psutil.Process]:
    """The training processes of a job, once all are there."""
    for _ in range(600):
        found = [child for child in parent.children(recursive=True) if "train" in child.cmdline()]
        if len(found) == count:
            return found
        time.sleep(0.1)
    raise AssertionError("the processes did not start")


def until(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


def started(workshop: Workshop, out: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A job of two that would go on for long, at its first checkpoint; the first process comes first."""
    command = glyffctl(workshop, out, "--gpus", "2", "--images", "1000000", "--checkpoint-every", "64")
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    members = family(psutil.Process(job.pid), 2)
    until(out / "model.safetensors")
    return job, sorted(members, key=lambda member: int(member.environ()["RANK"]))


@pytest.mark.hostile
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_killing_one_process_ends_the_job_with_a_line(workshop: Workshop, tmp_path: Path, victim: int) -> None:
    out = tmp_path / "run"
    job, members = started(workshop, out)
    members[victim].kill()
    begun = time.monotonic()
    _, told = job.communicate(timeout=60)
    print(f"ended after {time.monotonic() - begun:.1f} s: {told}")
    assert job.returncode == 1
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)
    assert not crashed(told) and "from the last checkpoint" in told
    assert load_state(out) is not None and load_model(out).images >= 64


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_launcher_saves_and_leaves(
    workshop: Workshop, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "run"
    job, members = started(workshop, out)
    job.send_signal(number)
    _, told = job.communicate(timeout=60)
    assert job.returncode == code, told
    assert "everything is saved" in told and not crashed(told)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in members)
    assert load_state(out) is not None


@pytest.mark.hostile
def test_a_job_whose_launcher_was_killed_saves_and_ends(workshop: Workshop, tmp_path: Path) -> None:
    out = tmp_path / "run"
    job, members = started(workshop, out)
    job.kill()
    job.communicate(timeout=60)
    _, left = psutil.wait_procs(members, timeout=60)
    assert not left
    assert load_state(out) is not None


def test_the_place_in_a_job_is_what_torchrun_or_srun_says() -> None:
    assert process_info({}) == ProcessInfo() and not in_job({}) and SINGLE_PROCESS.is_main
    assert process_info({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == ProcessInfo(3, 4, 1)
    slurm = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}
    assert process_info(slurm) == ProcessInfo()  # a shell in an allocation
    assert process_info({**slurm, "SLURM_STEP_ID": "0", "MASTER_ADDR": "node1"}) == ProcessInfo(1, 2, 1)
    for broken in ({"RANK": "1"}, {"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
                   {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}):  # fmt: skip
        with pytest.raises(UsageError):
            process_info(broken)


@pytest.mark.thorough
def test_a_batch_smaller_than_the_job_is_told_once(workshop: Workshop, tmp_path: Path) -> None:
    command = glyffctl(workshop, tmp_path / "run", "--gpus", "2", "--batch", "1")
    done = run(command)
    assert done.returncode == 1
    assert done.stderr.count("cannot be shared by 2 processes") == 1 and not crashed(done.stderr)


@pytest.mark.slow
@pytest.mark.thorough
def test_two_agents_of_torchrun_form_one_job(workshop: Workshop, tmp_path: Path) -> None:
    """The README's line for several machines, both of them this one: two agents that meet on loopback."""
    with socket.socket() as door:
        door.bind(("localhost", 0))
        port = door.getsockname()[1]
    agents = []
    for node in (0, 1):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
                   "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--local-addr", "localhost",
                   "-m", *glyffctl(workshop, tmp_path / f"run-{node}", "--json")[2:]]  # fmt: skip
        agents.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        )
    told = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], told
    reports = [json.loads(out) for out, _ in told if out.strip()]
    assert [report["images"] for report in reports] == [96]
    # One folder of two: the second machine had no need of it.
    assert sorted(path.name for path in tmp_path.glob("run-*/model.safetensors")) == ["model.safetensors"]


@pytest.mark.thorough
def test_srun_starts_a_job_too(workshop: Workshop, tmp_path: Path) -> None:
    """What srun sets for its tasks, set by hand."""
    with socket.socket() as door:
        door.bind(("localhost", 0))
        port = door.getsockname()[1]
    shared = {
        **ENVIRONMENT,
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }
    tasks = [
        subprocess.Popen(glyffctl(workshop, tmp_path / "run", "--gpus", "1", "--json"), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True,
                         env={**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})
        for rank in (0, 1)
    ]  # fmt: skip
    told = [task.communicate(timeout=300) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], told
    assert json.loads(told[0][0])["images"] == 96 and not told[1][0]

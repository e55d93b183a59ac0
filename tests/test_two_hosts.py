"""Two machines form one job: network namespaces with names and addresses of their own, and a cable between them.

They need root, and a system that lets it make namespaces; where it does not, the tests are skipped and say why.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from glyffctl.core.models.checkpoint import load_model, load_state
from tests.conftest import Workshop
from tests.test_processes import ENVIRONMENT, ended, glyffctl, run, twenty_steps, until

pytestmark = pytest.mark.slow

NAMES = ("first", "second")
CABLE = "cable0"
PORT = 29500
MARK = "GLYFFCTL_TWO_HOSTS"
# What `ip netns` leaves to be done for a host: its name, and whom it knows by name.
HOST = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'


class Hosts:
    """The two, and all that runs on them."""

    def __init__(self, folder: Path) -> None:
        self.spaces = [f"glyffctl-{os.getpid()}-{name}" for name in NAMES]
        self.book = folder / "hosts"
        self.book.write_text("127.0.0.1 localhost\n" + "".join(f"10.97.0.{i} {n}\n" for i, n in enumerate(NAMES, 1)))
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"

    def connect(self) -> None:
        first, second = self.spaces
        for space in self.spaces:
            _ip("netns", "add", space)
        _ip("link", "add", CABLE, "netns", first, "type", "veth", "peer", "name", CABLE, "netns", second)
        for number, space in enumerate(self.spaces, 1):
            _ip("-n", space, "addr", "add", f"10.97.0.{number}/24", "dev", CABLE)
            for device in (CABLE, "lo"):
                _ip("-n", space, "link", "set", device, "up")
        for host in range(2):
            subprocess.run(self.on(host, "true"), check=True, capture_output=True)

    def on(self, host: int, *command: str) -> list[str]:
        """The command as one that runs on a host."""
        return ["ip", "netns", "exec", self.spaces[host], "unshare", "--uts", "--mount", "sh", "-c", HOST,
                NAMES[host], str(self.book), *command]  # fmt: skip

    def start(self, host: int, *command: str) -> subprocess.Popen[str]:
        """Both `ip` and the shell become the command: its process is torchrun's agent."""
        return subprocess.Popen(self.on(host, *command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**ENVIRONMENT, MARK: self.mark}, cwd=Path(__file__).parents[1])  # fmt: skip

    def torchrun(self, host: int, *arguments: str) -> subprocess.Popen[str]:
        """The README's line for several machines."""
        return self.start(host, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
                          "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{NAMES[0]}:{PORT}", *arguments)  # fmt: skip

    def carried(self) -> int:
        """Bytes that the first host has sent through the cable."""
        path = f"/sys/class/net/{CABLE}/statistics/tx_bytes"
        return int(subprocess.run(self.on(0, "cat", path), check=True, capture_output=True, text=True).stdout)

    def running(self) -> list[psutil.Process]:
        """Whatever was started on the hosts and is alive."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def close(self) -> None:
        for process in self.running():
            process.kill()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("there is no `ip` or no `unshare` (Debian: iproute2, util-linux)")
    both = Hosts(tmp_path)
    try:
        both.connect()
    except subprocess.CalledProcessError as error:
        both.close()
        said = error.stderr if isinstance(error.stderr, str) else error.stderr.decode(errors="replace")
        pytest.skip(f"no namespaces here: {' '.join(map(str, error.cmd[:6]))}…: {said.strip()}")
    try:
        yield both
    finally:
        both.close()


def test_two_hosts_walk_the_path_of_one_process(hosts: Hosts, workshop: Workshop, tmp_path: Path) -> None:
    (alone,) = twenty_steps(workshop, tmp_path / "alone", 1)
    out = tmp_path / "two"
    out.mkdir()
    job = [str(Path(__file__).with_name("job.py")), str(workshop.data), str(workshop.config), str(out)]
    before = hosts.carried()
    agents = [hosts.torchrun(host, *job) for host in range(2)]
    told = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], told
    tensors, header = ended(alone)
    ends = [ended(out / f"{rank}.safetensors") for rank in range(2)]
    worst = max(float((end[name] - tensors[name]).abs().max()) for end, _ in ends for name in tensors)
    sent = hosts.carried() - before
    print(f"two hosts and one process: {worst:.1e} apart, {sent:,} bytes sent by the first")
    assert worst < 1e-10
    assert sorted(number for _, each in ends for number in each["seen"]) == sorted(header["seen"])
    gradients = sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith("network."))
    assert sent > 20 * gradients / 2  # an exchange sends each half of them once at least


@pytest.mark.parametrize("victim", [0, 1])
def test_killing_the_agent_of_one_host_ends_both(hosts: Hosts, workshop: Workshop, tmp_path: Path, victim: int) -> None:
    out = tmp_path / "run"
    command = glyffctl(workshop, out, "--images", "1000000", "--checkpoint-every", "64")[1:]
    agents = [hosts.torchrun(host, *command) for host in range(2)]
    until(out / "model.safetensors")
    agents[victim].send_signal(signal.SIGKILL)
    begun = time.monotonic()
    agents[victim].communicate(timeout=60)
    _, told = agents[1 - victim].communicate(timeout=60)
    while hosts.running() and time.monotonic() - begun < 60:
        time.sleep(0.1)
    print(f"agent {victim} killed: all ended after {time.monotonic() - begun:.1f} s")
    assert not hosts.running()
    assert agents[1 - victim].returncode != 0
    print(told)
    reached = load_model(out).images
    assert reached >= 64 and load_state(out) is not None
    again = run(glyffctl(workshop, out, "--gpus", "0", "--images", str(reached + 8)))
    assert again.returncode == 0, (told, again.stderr)
    assert f"resuming at {reached:,} pictures" in again.stderr

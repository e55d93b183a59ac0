"""The stand-in for CUDA graphs: replays are steps bit for bit, and what goes wrong on a GPU goes wrong here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.training.ema import EMA
from tests.pretended_gpu import pretended_gpu
from tests.recorded_graph import counted_launches, recorded_graphs

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretended_gpu(monkeypatch), recorded_graphs(monkeypatch):
        yield


class Small(nn.Module):
    """What a U-Net has: convolutions, group norm, attention, an embedding by index."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(5, 8))
        self.inside, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.attend, self.outside = nn.Linear(8, 24), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        hidden = F.silu(self.norm(self.inside(x)) + self.table[index][:, :, None, None])
        q, k, v = self.attend(hidden.flatten(2).mT).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).permute(0, 1, 3, 2).reshape(hidden.shape)
        return self.outside(hidden + seen)


class Step:
    """A network with all that an optimizer step does, on inputs that stay where they are."""

    def __init__(self) -> None:
        self.network = Small().to(GPU).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.rate = torch.zeros((), device=GPU)
        self.x = torch.zeros(4, 1, 8, 8, device=GPU)
        self.index = torch.zeros(4, dtype=torch.int64, device=GPU)
        self.share = torch.zeros((), device=GPU)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.rate, fused=True, capturable=True)
        self.finite = torch.ones((), dtype=torch.bool, device=GPU)
        self.loss = self.norm = torch.zeros(())

    def set(self, turn: int) -> None:
        generator = torch.Generator().manual_seed(turn)
        self.x.copy_(torch.randn(4, 1, 8, 8, generator=generator))
        self.index.copy_(torch.randint(5, (4,), generator=generator))
        self.rate.fill_(1e-3 * (turn + 1))
        self.share.fill_(0.5 / (turn + 1))

    def compute(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            self.loss = (self.network(self.x, self.index) - self.x).float().square().mean()
        self.loss.backward()
        self.norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.finite &= self.norm.isfinite()
        self.optimizer.step()
        with torch.no_grad():
            for ours, theirs in zip(self.average.parameters(), self.network.parameters(), strict=True):
                ours.lerp_(theirs, self.share)

    def numbers(self) -> list[Tensor]:
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        everything = [*self.network.parameters(), *self.average.parameters(), *moments, self.loss, self.norm]
        return [x.detach().cpu().clone() for x in everything]


def capture(compute: Callable[[], Any]) -> Any:
    """The graph of `compute`: a `recorded_graph.CUDAGraph`."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    return graph


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.equal(one, other), place


def test_replays_are_steps_bit_for_bit() -> None:
    eager, captured = Step(), Step()
    for turn in (7, 8):
        for step in (eager, captured):  # moments have to be there before a capture
            step.set(turn)
            step.compute()
    before = captured.numbers()
    graph = capture(captured.compute)
    assert_equal(captured.numbers()[:-2], before[:-2])
    assert captured.loss.isnan() and captured.norm.isnan(), "a capture computes nothing"
    for turn in range(5):
        for step in (eager, captured):
            step.set(turn)
        eager.compute()
        graph.replay()
        assert_equal(captured.numbers(), eager.numbers())
        assert_equal(
            [p.grad.cpu() for p in captured.network.parameters() if p.grad is not None],
            [p.grad.cpu() for p in eager.network.parameters() if p.grad is not None],
        )
    assert bool(captured.finite)


def test_gradients_that_were_none_are_overwritten_and_those_that_were_there_add_up() -> None:
    weight = torch.ones(3, device=GPU).requires_grad_()
    x = torch.ones(3, device=GPU)
    graph = capture(lambda: (weight * x).sum().backward())
    for factor in (1.0, 2.0):
        x.fill_(factor)
        graph.replay()
        assert weight.grad is not None and weight.grad.tolist() == [factor] * 3
    other = torch.ones(3, device=GPU).requires_grad_()
    (other * x).sum().backward()
    graph = capture(lambda: (other * x).sum().backward())
    graph.replay()
    graph.replay()
    assert other.grad is not None and other.grad.tolist() == [6.0] * 3


@pytest.mark.parametrize("wrong", ["a number of Python", "a scalar of the CPU", "a tensor made anew", "new moments"])
def test_what_a_replay_does_not_see_shows_as_a_difference(wrong: str) -> None:
    def run(*, captured: bool) -> list[Tensor]:
        step = Step()
        step.set(0)
        if wrong != "new moments":
            step.compute()
        cpu = torch.ones(())
        kept = step.x

        def compute() -> None:
            step.compute()
            with torch.no_grad():
                factor = cpu if wrong == "a scalar of the CPU" else number
                for p in step.network.parameters():
                    p.mul_(factor)

        number = 1.0
        graph = capture(compute) if captured else None
        for turn in (1, 2):
            step.set(turn)
            if wrong == "a number of Python":
                number = 1 + turn
            elif wrong == "a scalar of the CPU":
                cpu.fill_(1 + turn)
            elif wrong == "a tensor made anew":
                step.x = step.x + 1
            graph.replay() if graph else compute()
        assert kept.numel()
        return step.numbers()

    ours, theirs = run(captured=True), run(captured=False)
    assert any(not torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_memory_that_was_freed_is_not_read() -> None:
    out = torch.zeros(2, device=GPU)
    x = torch.ones(2, device=GPU)
    graph = capture(lambda: out.add_(x))
    graph.replay()
    assert out.tolist() == [1, 1]
    x = torch.zeros(2, device=GPU)
    with pytest.raises(RuntimeError, match="freed"):
        graph.replay()


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if (x > 0).all() else 0,
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x + 1),
    "synchronize": lambda _: torch.cuda.synchronize(),
    "down": lambda x: x.cpu(),
    "up": lambda _: torch.ones(3).to(GPU),
    "up, without waiting": lambda _: torch.ones(3).to(GPU, non_blocking=True),
    "copy_ up": lambda x: x.copy_(torch.ones(3)),
    "copy_ down": lambda x: torch.ones(3).copy_(x),
    "a number set as a tensor": lambda x: x.__setitem__(0, torch.tensor(1.0)),
    "from a list": lambda _: torch.tensor([1.0, 2.0], device=GPU),
    "indices of the CPU": lambda x: x[torch.tensor([0, 1])],
    "torch's generator": torch.randn_like,
    "dropout": lambda x: F.dropout(x, 0.5),
    "an optimizer's": lambda x: torch.optim.AdamW([nn.Parameter(x)], fused=True).step(),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cuda_refuses_is_refused(what: str) -> None:
    x = torch.tensor([1.0, 2.0, 3.0]).to(GPU)
    with pytest.raises(RuntimeError, match=r"capturing|during capture"):
        capture(lambda: REFUSED[what](x))
    assert x.tolist() == [1, 2, 3]

    def hiding() -> None:
        try:
            REFUSED[what](x)
        except RuntimeError:
            x.add_(1)

    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="during capture"), torch.cuda.graph(graph):
        hiding()
    with pytest.raises(RuntimeError):
        graph.replay()
    assert not torch.cuda.is_current_stream_capturing() and x.tolist() == [1, 2, 3]
    capture(lambda: x.add_(1)).replay()
    assert x.tolist() == [2, 3, 4]


def test_the_cpu_works_on_during_a_capture_and_is_in_no_graph() -> None:
    x, here = torch.zeros(2, device=GPU), torch.zeros(2)
    numbers: list[float] = []

    def compute() -> None:
        here.add_(1)
        numbers.append(float(here.sum()))
        x.add_(torch.arange(2, device=GPU))

    graph = capture(compute)
    for _ in range(3):
        graph.replay()
    assert x.tolist() == [0, 3] and here.tolist() == [1, 1] and numbers == [2.0]


def test_foreach_out_and_views() -> None:
    xs = [torch.ones(2, 3, device=GPU), torch.ones(4, device=GPU)]
    out = torch.zeros(3, device=GPU)

    def compute() -> None:
        torch._foreach_mul_(xs, 2.0)
        xs[0].T[1].add_(1)
        torch.add(xs[0][0], 1, out=out)

    graph = capture(compute)
    assert xs[0].tolist() == [[1] * 3] * 2 and out.tolist() == [0] * 3
    graph.replay()
    graph.replay()
    assert xs[0].tolist() == [[4, 7, 4]] * 2 and xs[1].tolist() == [4] * 4 and out.tolist() == [5, 8, 5]


def test_streams_know_what_is_current_and_what_they_wait_for() -> None:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        assert torch.cuda.current_stream() is side
        mark = side.record_event()
        torch.ones(2, device=GPU).record_stream(side)
    assert torch.cuda.current_stream() is torch.cuda.default_stream() is not side
    torch.cuda.current_stream().wait_event(mark)
    with pytest.raises(RuntimeError, match="non-default"):
        torch.cuda.CUDAGraph().capture_begin()
    pool = torch.cuda.graph_pool_handle()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=side):
        assert torch.cuda.current_stream() is side
    assert graph.pool() is pool


def test_an_average_that_python_weighs_is_found() -> None:
    """`EMA.update` with another count of steps, which is a number of Python."""
    network = nn.Linear(2, 2).to(GPU)
    eager, captured = (EMA(network, 0.9) for _ in range(2))  # type: ignore[arg-type]
    with torch.no_grad():
        network.weight.add_(1)
    graph = capture(lambda: captured.update(network, 0))  # type: ignore[arg-type]
    for steps in range(3):
        eager.update(network, steps)  # type: ignore[arg-type]
        graph.replay()
        same = torch.equal(*(next(ema.network.parameters()) for ema in (eager, captured)))
        assert same == (steps == 0)


def test_what_is_launched_is_counted() -> None:
    xs = [torch.ones(2, 3, device=GPU), torch.ones(4, device=GPU)]

    def compute() -> None:
        torch._foreach_mul_(xs, 2.0)  # one, for both
        xs[0].T[1].add_(1)  # views need no kernel
        xs[1] + torch.empty_like(xs[1]).fill_(1)
        torch.ones(3).add(1)  # the CPU's

    with counted_launches() as launches:
        compute()
        assert xs[0].T.tolist() == [[2, 2], [3, 3], [2, 2]]
    assert launches == {"_foreach_mul": 1, "add": 2, "fill": 1}
    assert capture(compute).launches == launches
    with counted_launches() as launches:
        assert float(torch.ones(2).to(GPU).sum()) == 2
    assert launches == {"copy between GPU and CPU": 1, "sum": 1, "_local_scalar_dense": 1}

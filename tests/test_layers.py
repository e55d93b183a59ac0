"""Who may import whom: cli → workflows → core, and the wings of core in their own order."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "glyffctl"

ALLOWED = {
    "core.errors": set[str](),
    "core.noise": set(),
    "core.estimates": set(),
    "core.linalg": set(),
    "core.device": {"core.errors", "core.io"},
    "core.precision": {"core.errors", "core.device"},
    "core.io": {"core.errors"},
    "core.kernels": {"core.noise"},
    "core.diffusion": set(),
    "core.networks": {"core.errors", "core.kernels", "core.io", "core.diffusion"},
    "core.codecs": {"core.errors", "core.io", "core.networks"},
    "core.text": {"core.errors", "core.io", "core.diffusion"},
    "core.models": {
        *("core.errors", "core.noise", "core.device", "core.precision", "core.io"),
        *("core.diffusion", "core.codecs", "core.networks", "core.text"),
    },
    "core.light": {"core.errors", "core.io", "core.text", "core.models"},
    "core.data": {"core.errors", "core.noise", "core.io", "core.diffusion", "core.text"},
    "core.training": {
        *("core.errors", "core.kernels", "core.noise", "core.device", "core.precision", "core.io"),
        *("core.diffusion", "core.codecs", "core.networks", "core.models", "core.data"),
    },
    "core.evaluation": {"core.errors", "core.noise", "core.estimates", "core.io", "core.text", "core.data"},
    "core.atlas": {"core.errors", "core.linalg", "core.io", "core.data"},
    "core.theory": {"core.estimates", "core.linalg", "core.io", "core.diffusion", "core.networks", "core.models"},
    "core.outlines": {"core.errors", "core.io"},
    "core.interop": {
        *("core.errors", "core.io", "core.diffusion", "core.codecs"),
        *("core.networks", "core.text", "core.models"),
    },
    "figures": {"core"},
    "workflows": {"core", "figures"},
    "studio": {"core", "workflows"},
    "display": {"core", "workflows"},
    "cli": {"core", "workflows", "studio", "display"},
    "api": {"core", "workflows"},
    "__main__": {"cli"},
    "version": set(),
}
HEAVY_ABOVE_CORE = {"typer", "rich", "click", "matplotlib", "selenium", "starlette", "uvicorn"}


@cache
def modules() -> list[tuple[str, Path, ast.Module]]:
    """(dotted name below glyffctl, file, tree) of every module but the package itself."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            found.append((name, file, ast.parse(file.read_text(encoding="utf-8"))))
    return found


@cache
def imports(tree: ast.Module) -> frozenset[str]:
    """Every module that is imported, anywhere in the file but under TYPE_CHECKING as well."""
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def room(name: str) -> str:
    """The room that a module is in: a wing or a module of core, or what lies above."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "core" and len(parts) > 1 else parts[0]


def ours(tree: ast.Module) -> set[str]:
    return {name.removeprefix("glyffctl.") for name in imports(tree) if name.startswith("glyffctl.")}


def test_every_room_imports_only_what_it_may() -> None:
    wrong = []
    for name, file, tree in modules():
        own = room(name)
        if own == "core":
            continue
        assert own in ALLOWED, f"{own} is a room without rules: give it some in this test"
        for other in {room(module) for module in ours(tree)} - {own, "core", "version"}:
            allowed = ALLOWED[own]
            if other not in allowed and not (other.startswith("core.") and "core" in allowed):
                wrong.append(f"{file.relative_to(ROOT)} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_the_order_has_no_circle() -> None:
    TopologicalSorter(ALLOWED).prepare()  # which names a circle


def test_no_module_imports_itself_through_others() -> None:
    """At import time: what a function imports when it runs is no circle."""
    graph: defaultdict[str, set[str]] = defaultdict(set)
    names = {name for name, _, _ in modules()}
    for name, _, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("glyffctl."):
                base = node.module.removeprefix("glyffctl.")
                targets = {f"{base}.{alias.name}" for alias in node.names} & names or {base}
                graph[name] |= targets
    packages = {name for name, file, _ in modules() if file.name == "__init__.py"}
    TopologicalSorter({name: graph[name] - packages for name in names - packages}).prepare()  # which names a circle


def test_core_knows_no_terminal_and_draws_no_figure() -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for name, file, tree in modules()
        if name.startswith("core")
        for module in imports(tree)
        if module.split(".")[0] in HEAVY_ABOVE_CORE
    ]
    assert not wrong, "\n".join(wrong)


def test_diffusion_is_torch_and_itself_and_short() -> None:
    lines = 0
    for name, file, tree in modules():
        if room(name) != "core.diffusion":
            continue
        foreign = {module.split(".")[0] for module in imports(tree)} - {"torch", "glyffctl"}
        assert foreign <= {"__future__", "collections", "dataclasses", "functools", "math", "typing"}, (file, foreign)
        if file.stem in ("schedule", "denoiser", "samplers", "guidance"):
            lines += len(file.read_text(encoding="utf-8").splitlines())
    assert lines < 450


@pytest.mark.parametrize("folder", ["glyffctl", "examples", "tests"])
def test_no_file_is_longer_than_500_lines(folder: str) -> None:
    long = [
        f"{file.relative_to(ROOT)}: {count}"
        for file in (ROOT / folder).rglob("*.py")
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > 500
    ]
    assert not long, long


def test_only_its_own_room_and_exports_name_the_u_net() -> None:
    """Another network must not have to break walls."""
    names = {
        name
        for name, file, tree in modules()
        if any(
            module.endswith(("networks.unet", "networks.unet.UNet", "networks.unet.UNetConfig"))
            for module in imports(tree)
        )
    }
    assert names == {"core.networks", "core.interop.diffusers_export", "workflows.export_pages"}

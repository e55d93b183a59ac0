"""`glyffctl noise-demo --check` from the command line: the whole register."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner

from glyffctl.core.theory import network_claims
from glyffctl.display.claim_list import judged, show_claims
from glyffctl.figures.claims import REGISTER
from glyffctl.workflows import claims_model, noise_model
from glyffctl.workflows.noise_check import MISSING, CheckedClaim, CheckReport
from tests.command_line import app
from tests.test_noise_demo import drawn, written


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path) -> Path:
    return written(tmp_path_factory.mktemp("check") / "data", drawn(noto_sans, 32))


@pytest.mark.thorough
def test_the_claims_from_the_command_line(
    data: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every statement is there, measured or not, and in words; what a model does is not taken from another's record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(noise_model, "ONE_STEP", 8)
    monkeypatch.setattr(network_claims, "TRAINED_STEPS", 5)
    for name, value in {"PER_PROMPT": 1, "STRENGTHS": (1.0, 2.0, 4.0, 8.0), "DRAWN_STEPS": 1}.items():
        monkeypatch.setattr(claims_model, name, value)
    job = ["noise-demo", "--check", "--json", "--data", str(data)]
    done = CliRunner().invoke(app, [*job, "--model", "nowhere"])
    assert done.exit_code == 1 and "no model at nowhere" in done.stderr
    done = CliRunner().invoke(app, [*job, "--model", str(tiny_run)])
    assert done.exit_code == 0, done.output
    claims = {claim["name"]: claim for claim in json.loads(done.stdout)["claims"]}
    assert claims["parameters"]["verdict"] == "does not hold"
    assert claims["noise and score"]["verdict"] == "holds with a correction"
    assert claims["one jump"]["verdict"] == "holds"
    assert claims["parameters"]["numbers"]["order"] == 8
    assert claims["glyphs"]["verdict"] == "does not hold"  # 53 are not 21,000
    assert claims["glyphs"]["numbers"] == {"glyphs": 53}
    assert claims["gold"]["estimates"]["with the radical"]["count"] == 8
    assert all(claim["says"] and claim["found"] for claim in claims.values())
    assert claims["gold"]["verdict"] == "does not hold"  # a model that has learned for a second
    assert list(claims) == list(REGISTER)
    taken = {name for name, claim in claims.items() if claim["measured"]}
    assert taken & claims.keys() >= {"clusters", "map keeps"} and not taken & {"gold", "prompts", "new", "text helps"}
    left = {name for name, claim in claims.items() if claim["verdict"] == "not measured here"}
    assert "new" in left and left <= MISSING.keys()
    assert list(tmp_path.iterdir()) == []
    from rich.console import Console

    console = Console(width=120, record=True, file=StringIO())
    report = CheckReport([CheckedClaim(**claim) for claim in claims.values()], "[red]\x1b[31m", 1.0)
    show_claims(report, console)
    text = " ".join(console.export_text().split())
    assert "\x1b" not in text and "[red]" in text
    for claim in report.claims:
        assert f"{claim.says} {judged(claim)} {claim.found}" in text
    assert f"{len(claims)} claims: " in text

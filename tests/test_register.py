"""The register of claims: its entries, the records that ship, tables of trained models, and claims about a model."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from collections.abc import Generator
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from glyffctl.core.atlas.layout import Map, MapSettings, save_map
from glyffctl.core.atlas.neighbors import project
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.errors import ModelError
from glyffctl.core.estimates import Estimate, share
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.theory import model_claims, text_claims, training_claims
from glyffctl.core.theory.claims import Claim, Verdict
from glyffctl.display.claim_list import judged, show_claims, whence
from glyffctl.figures.claim_text import _MISSING, _TEXTS, claim_text
from glyffctl.figures.claims import PARTS, REGISTER
from glyffctl.figures.claims.entry import SOURCES, fill
from glyffctl.workflows import claims_map, claims_model, claims_text, noise_check
from glyffctl.workflows.claim_records import CLAIMS_FILE, TRAINED_FILE, as_plain, read_claims, read_trained
from glyffctl.workflows.events import Result, finish
from glyffctl.workflows.noise_check import MISSING, CheckReport
from glyffctl.workflows.noise_model import load_prompted_model
from tests.conftest import Workshop
from tests.toys import eps

CPU = torch.device("cpu")
VERDICTS: tuple[Verdict, ...] = ("holds", "holds with a correction", "does not hold")


def finish_quietly(work: Generator[float, None, Result]) -> Result:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def family(name: str, grey: int, distance: float, recall: int, seconds: float) -> list[dict[str, Any]]:
    def plain(hits: int) -> list[float]:
        found = share(hits, 1000)
        return [found.value, found.low, found.high, found.count]

    return [
        {
            "family": name, "seed": seed, "grey": plain(grey), "recall": plain(recall), "seconds": seconds,
            "distance": [distance * (1 + seed), distance * (1 + seed) - 0.001, distance * (1 + seed) + 0.001, 500],
        }
        for seed in (0, 1)
    ]  # fmt: skip


FAMILIES = [
    *family("real", 50, 0.0, 900, 0.0),
    *family("diffusion", 52, 0.001, 800, 0.2),
    *family("vae", 200, 0.02, 700, 0.01),
    *family("gan", 55, 0.05, 300, 0.01),
]


def test_the_register_has_an_entry_for_each_statement_and_says_where_it_stands() -> None:
    entries = [entry for part in PARTS for entry in part.entries]
    assert len(entries) == len(REGISTER) >= 45
    assert all(entry.source in SOURCES for entry in entries)
    for entry in entries:
        assert bool(entry.found) != (entry.name in _TEXTS or entry.name == "glyphs"), entry.name
        assert not entry.found or entry.correction or entry.instead, entry.name
    assert {*MISSING, *training_claims.TRAINED} <= REGISTER.keys()


def test_the_words_of_the_register_are_sentences_of_a_length_that_is_read_at_once() -> None:
    """Statements, places and findings are whole sentences; what is right instead goes on after a colon."""
    for entry in REGISTER.values():
        for text in filter(None, (entry.says, entry.place, entry.found)):
            check_sentences(entry.name, text)
        for clause in filter(None, (entry.correction, entry.instead)):
            assert clause[-1] != "." and not clause.split()[0].istitle() and len(words(clause)) <= 40, (
                entry.name,
                clause,
            )
            assert len(words(clause)) >= 4, (entry.name, clause)
    for text in _MISSING.values():
        check_sentences("missing", text)


def words(text: str) -> list[str]:
    """Those of a text, where a number with its interval is one."""
    return re.sub(r"\{[^}]*\}|\([^()]*\)", "0", text).split()


def check_sentences(name: str, text: str) -> None:
    sentences = re.split(r"(?<=[.?!]) ", text)
    assert text[0] in "“{" or text[0].isupper() or text[0].isdigit() or text[0] in "γ√", (name, text)
    assert text[-1] == "." and "  " not in text and len(sentences) <= 6, (name, text)
    for sentence in sentences:
        assert 2 <= len(words(sentence)) <= 36 and sentence.count(";") <= 1, (name, sentence)


def test_templates_show_numbers_and_intervals_as_they_are_read() -> None:
    claim = Claim(
        "x", "holds", {"a b": Estimate(0.5, 0.25, 0.75, 8), "c": Estimate(-1, -2, 0, 3)}, {"d": -0.004, "z": 0}
    )
    text = fill("{e[a b]:.0%} {e[a b]:share} {e[a b]:count} {e[c]:.1f} {e[c]:.0%} {n[d]:.3f} dpmpp-2m", claim)
    assert text == "50 % (25–75) 4 of 8 (25–75 %) 8 −1.0 (−2.0 to 0.0) −100 % (−200 to 0) −0.004 dpmpp-2m"
    assert fill("{n[d]:.0e} {n[z]:.0e} {e[a b]:.0e}", claim) == "−4 × 10⁻³ 0 5 × 10⁻¹ (2 × 10⁻¹ to 8 × 10⁻¹)"


def test_what_ships_is_of_the_weights_that_ship_and_has_words() -> None:
    record = read_claims(pretrained(CLAIMS_FILE))
    assert record.model == load_model(pretrained("model.safetensors")).identity
    assert record.claims.keys() <= MISSING.keys() - training_claims.TRAINED.keys()
    assert len(record.claims) >= 12
    trained = read_trained(pretrained(TRAINED_FILE))
    assert trained.claims.keys() <= training_claims.TRAINED.keys()
    for claim in (*record.claims.values(), *trained.claims.values()):
        for verdict in VERDICTS:  # every template has its numbers, whatever the verdict
            said = claim_text(replace(claim, verdict=verdict), "somewhere")
            assert re.search(r"\d", said.found) and "nan" not in said.found
            assert not re.search(r"[{}]|\d[%e]|(?<!\w)-\d", said.found + said.correction), claim.name
            check_sentences(claim.name, said.found)
    for measured in (*record.measured.values(), *trained.measured.values()):
        assert re.match(r"\d{4}-\d\d-\d\d, .", measured)


@pytest.fixture(scope="module")
def shipped() -> CheckReport:
    """All statements, with what the records say of some of them."""
    record, checked = read_claims(pretrained(CLAIMS_FILE)), []
    for part in PARTS:
        for entry in part.entries:
            claim = record.claims.get(entry.name, Claim(entry.name, "not measured here", missing="training"))
            measured = record.measured.get(entry.name, "")
            checked.append(noise_check._in_words(claim, part.title, "in a folder", measured))
    return CheckReport(checked, "3 of the 4 in a folder", 1.0)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_claims_are_shown_in_lines_that_fit(shipped: CheckReport, width: int) -> None:
    console = Console(width=width, record=True, file=StringIO())
    show_claims(shipped, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for claim in shipped.claims:
        assert f"{claim.says} {judged(claim)} {claim.found} {whence(claim)}" in text
    assert not any(re.match(r"\s*[%=]", line) for line in lines)


def test_the_page_has_all_that_was_measured(shipped: CheckReport, capsys: pytest.CaptureFixture[str]) -> None:
    page = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "claims_page.py"))
    page["write"](json.loads(json.dumps(asdict(shipped))), "3 glyphs of Noto Sans")
    text = " ".join(capsys.readouterr().out.replace("\n> ", " ").split())
    assert "3 glyphs of Noto Sans" in text and "folder" not in text.replace("data folder", "")
    for claim in shipped.claims:
        assert f"**{claim.says}** *{judged(claim).partition(':')[0]}" in text and claim.correction in text
        assert whence(claim) in text and (claim.found in text or claim.name == "glyphs")
    assert all(f"## {part.title}" in text for part in PARTS)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    claims = [
        Claim("gold", "holds", {"with the radical": share(5, 8)}, {}),
        Claim("map keeps", "does not hold", {}, {"chance": 0.5}),
        Claim("new", "not measured here", missing="model"),
    ]
    file = tmp_path / "claims.json"
    file.write_text(json.dumps(as_plain(claims, day="2026-01-02", how="here", model="abc")), encoding="utf-8")
    record = read_claims(file)
    assert record.claims == {claim.name: claim for claim in claims[:2]} and record.model == "abc"
    assert record.measured["gold"] == "2026-01-02, here"
    assert read_claims(tmp_path / "none.json").claims == read_trained(tmp_path / "none.json").claims == {}


@pytest.mark.parametrize("text", ["[1]", "{", '{"claims": {"gold": 3}}', '{"dropout": {"rows": []}}'])
def test_a_damaged_record_is_one_plain_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "damaged.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_claims(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)
    if "dropout" in text or not text.startswith('{"'):  # without a table none was measured
        with pytest.raises(ModelError):
            read_trained(file)


def test_records_of_other_weights_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped = read_claims(pretrained(CLAIMS_FILE))
    plain = as_plain(shipped.claims.values(), day="2026-01-02", how="here", model="of other weights")
    (tmp_path / CLAIMS_FILE).write_text(json.dumps(plain), encoding="utf-8")
    monkeypatch.setattr(noise_check, "pretrained", lambda name: tmp_path / name)
    kept = noise_check._shipped("")
    assert "map keeps" in kept.claims and "gold" not in kept.claims
    monkeypatch.undo()
    assert "gold" in noise_check._shipped("").claims
    assert "gold" not in noise_check._shipped("a model of the user's").claims


def test_tables_of_trained_models_decide() -> None:
    for name, verdict in {
        "VAE blurry": "holds", "GAN fast": "holds", "GAN unstable": "holds", "mode collapse": "holds",
        "diffusion quality": "holds", "diffusion slow": "holds",
    }.items():  # fmt: skip
        assert training_claims.TRAINED[name][1](FAMILIES).verdict == verdict, name
    alike = [
        {**row, **{key: FAMILIES[2][key] for key in ("grey", "recall", "distance", "seconds")}} for row in FAMILIES
    ]
    for name in ("VAE blurry", "GAN unstable", "mode collapse", "diffusion quality", "diffusion slow"):
        assert training_claims.TRAINED[name][1](alike).verdict != "holds", name
    assert training_claims.gan_fast(alike).verdict == "holds with a correction"  # as sharp, and no faster

    def rows(*hits: float) -> list[dict[str, Any]]:
        """Two runs of each, alike but for their seed; prompts differ far more than what is compared."""
        return [
            {"dropout": part, "seed": seed, "prompts": [own * (k % 10) / 9 + 0.01 * seed for k in range(40)]}
            for part, own in zip((0.0, 0.1, 0.2, 0.5), hits, strict=True)
            for seed in (0, 1)
        ]

    assert training_claims.dropout(rows(0.3, 0.4, 0.41, 0.4)).verdict == "holds"
    assert training_claims.dropout(rows(0.4, 0.4, 0.4, 0.4)).verdict == "holds with a correction"
    assert training_claims.dropout(rows(0.3, 0.4, 0.41, 0.6)).verdict == "does not hold"
    one, two = (
        {"contrastive": kind, "prompts": rows(0, hits, 0, 0)[2]["prompts"]}
        for kind, hits in ((False, 0.4), (True, 0.5))
    )
    assert training_claims.contrastive([one, two]).verdict == "holds with a correction"
    assert training_claims.contrastive([one, {**two, "prompts": one["prompts"]}]).verdict == "holds"
    assert training_claims.contrastive([{**one, "prompts": [0.01] * 40}, two]).verdict == "does not hold"


def test_every_claim_about_trained_models_has_words() -> None:
    prompts = [0.1, 0.5, 0.9]
    tables: dict[str, list[dict[str, Any]]] = {
        "families": FAMILIES,
        "dropout": [{"dropout": part, "prompts": prompts} for part in (0.0, 0.1, 0.2)],
        "contrastive": [{"contrastive": kind, "prompts": prompts} for kind in (False, True)],
        "networks": [{"network": name, "error": {"0.3": 0.1, "4": 0.2}} for name in ("unet", "dit")],
    }
    for name, (table, decide) in training_claims.TRAINED.items():
        for verdict in VERDICTS:
            said = claim_text(replace(decide(tables[table]), verdict=verdict))
            assert "{" not in said.found and re.search(r"\d", said.found), name


def test_claims_about_a_model_depend_on_what_it_did() -> None:
    low, high = torch.full((40,), 0.1) + 0.001 * torch.arange(40), torch.full((40,), 0.5) + 0.001 * torch.arange(40)
    assert model_claims.text_helps(low, high, high, 1).verdict == "holds"
    assert model_claims.text_helps(high, high, low, 1).verdict == "does not hold"
    assert model_claims.told_of_time(low, high, high, 1).verdict == "holds"
    assert model_claims.told_of_time(high, 1.1 * high, 1.2 * high, 1).verdict == "holds with a correction"
    assert model_claims.told_of_time(high, low, low, 1).verdict == "does not hold"
    assert model_claims.generalises(low, high, high, low, 1, 9).verdict == "holds"
    assert model_claims.generalises(high, low, high, low, 1, 9).verdict == "does not hold"
    assert model_claims.prompts_followed(high, low / 100, low / 100).verdict == "holds"
    assert model_claims.prompts_followed(low, low, low).verdict == "does not hold"
    near, far = share(90, 100), share(30, 100)
    assert model_claims.looks_real(near, near, far, far).verdict == "holds"
    assert model_claims.looks_real(near, near, near, far).verdict == "holds with a correction"
    assert model_claims.looks_real(far, near, near, far).verdict == "does not hold"
    assert model_claims.five_steps(near, far, far, far).verdict == "holds with a correction"
    assert model_claims.five_steps(near, near, far, far).verdict == "holds"
    assert model_claims.five_steps(far, far, far, far).verdict == "does not hold"
    assert model_claims.guidance_obeys({1: low, 4: high}).verdict == "holds"
    assert model_claims.guidance_obeys({1: high, 4: low}).verdict == "does not hold"
    assert model_claims.guidance_narrows({1: near, 8: far}, {1: high, 8: low}).verdict == "holds"
    assert model_claims.guidance_narrows({1: near, 8: near}, {1: high, 8: low}).verdict == "holds with a correction"
    assert model_claims.guidance_narrows({1: near, 8: near}, {1: low, 8: high}).verdict == "does not hold"


def test_claims_about_text_depend_on_what_was_found() -> None:
    some, none = share(80, 100), share(2, 100)
    below = Estimate(-0.1, -0.2, 0.1, 8)
    assert text_claims.contextual(some, some, some, 0).verdict == "holds"
    assert text_claims.contextual(some, below, some, 0).verdict == "holds with a correction"
    assert text_claims.contextual(below, some, some, 0).verdict == "does not hold"
    assert text_claims.contextual(some, some, some, 0.1).verdict == "does not hold"  # the words alone differ
    assert text_claims.radical_words(some, none).verdict == "holds"
    assert text_claims.radical_words(none, none).verdict == "does not hold"
    assert text_claims.condition(some, none, some, none).verdict == "holds"
    assert text_claims.condition(some, some, some, none).verdict == "does not hold"
    tokens = torch.tensor([2.0, 5.0])
    assert text_claims.token_vectors(tokens, 4 * tokens, torch.tensor([256, 256])).verdict == "holds"
    assert text_claims.token_vectors(tokens, 4 * tokens, torch.tensor([256, 9])).verdict == "does not hold"


def test_the_bundled_encoder_knows_the_chemical_element() -> None:
    claim = claims_text.measure_context(claims_text.bundled_encoder())
    assert claim.verdict == "holds" and claim.numbers["static"] == 0
    assert claim.estimates["element"].low > 0


def test_definitions_tell_radicals(workshop: Workshop) -> None:
    """Those of 64 characters are too few for the claim about a condition, and for a map."""
    characters = claims_text.defined(open_glyphs(workshop.data).characters)
    found = claims_text.measure_radicals(characters, 0)
    assert found is not None and found.estimates["found"].count > 30
    assert claims_text.measure_radicals(characters[:3], 0) is None
    assert claims_text.measure_condition(characters) is None
    assert finish(claims_map.measure_map(workshop.data, None, 0)) == []


def test_a_map_in_which_all_stays_in_place_keeps_neighbours_and_a_random_one_does_not(
    workshop: Workshop, tmp_path: Path
) -> None:
    shutil.copytree(workshop.data, tmp_path / "data")
    glyphs = open_glyphs(tmp_path / "data")
    subspace, points = finish_quietly(project(glyphs))
    near = torch.zeros(len(glyphs), 1, dtype=torch.int32)
    for layout, kept in ((points[:, :2], True), (eps(len(glyphs), 2, seed=1).float(), False)):
        drawn = Map(layout.contiguous(), points[:, :2].contiguous(), subspace, near)
        save_map(tmp_path / "data", drawn, glyphs.fingerprint(), MapSettings())
        found = {claim.name: claim for claim in finish(claims_map.measure_map(tmp_path / "data", None, 0))}
        assert found.keys() == {"map keeps", "map neighbours", "map density"}
        keeps = found["map keeps"]
        assert (keeps.estimates["map"] == keeps.estimates["plane"]) is kept
        assert (keeps.estimates["map"].value > 1.3 * keeps.numbers["chance"]) is kept


@pytest.mark.thorough
def test_a_trained_model_is_measured(workshop: Workshop, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that has learned for a second nothing holds; and without glyphs there is less to measure."""
    for name, value in {"HELD_OUT": 8, "FEWEST": 2, "STRENGTHS": (1.0, 4.0), "PER_PROMPT": 2, "PER_STEPS": 4}.items():
        monkeypatch.setattr(claims_model, name, value)
    monkeypatch.setattr(claims_model, "HOLDOUT", 0.2)
    monkeypatch.setattr(claims_model, "DRAWN_STEPS", 2)
    model = finish(load_prompted_model(tiny_run, None, "gold", 0, CPU))
    glyphs = open_glyphs(workshop.data)
    found = {claim.name: claim for claim in finish(claims_model.measure_trained(model, glyphs))}
    assert {"text helps", "told of time", "generalises", "prompts", "guidance obeys"} <= found.keys()
    assert found["prompts"].verdict == "does not hold"
    assert found["generalises"].estimates["memory, known"].value < 0.1
    assert {claim.name for claim in finish(claims_model.measure_trained(model, None))} == {"prompts", "guidance obeys"}

"""`glyffctl noise-demo --check`: every statement of the guide and its companions that can be tested, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.data.character import Character
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.device import choose_device
from glyffctl.core.diffusion.schedule import SCHEDULES
from glyffctl.core.errors import ModelError
from glyffctl.core.estimates import Estimate
from glyffctl.core.io.bundled import model_path, pretrained
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.noise import normal
from glyffctl.core.theory import (
    claims,
    data_claims,
    denoising_claims,
    guiding_claims,
    network_claims,
    noising_claims,
    reverse_claims,
)
from glyffctl.core.theory.claims import Claim, Missing, Verdict
from glyffctl.core.theory.sampler_error import spectrum, thin_spectrum
from glyffctl.core.theory.training_claims import TRAINED
from glyffctl.figures import sampler_error_plot
from glyffctl.figures.claim_text import claim_text
from glyffctl.figures.claims import PARTS, REGISTER
from glyffctl.figures.claims.entry import SOURCES
from glyffctl.figures.classifier_accuracy import NoisyAccuracy
from glyffctl.figures.demo_scene import DemoScene, resize
from glyffctl.workflows import claims_text
from glyffctl.workflows.claim_records import CLAIMS_FILE, TRAINED_FILE, Record, read_claims, read_trained
from glyffctl.workflows.claims_map import measure_map
from glyffctl.workflows.claims_model import measure_trained
from glyffctl.workflows.events import Event, Note, Progress
from glyffctl.workflows.noise_data import DemoGlyphs, gather_glyphs, make_scene
from glyffctl.workflows.noise_demo import NoiseDemoOptions
from glyffctl.workflows.noise_model import GOLD, PromptedModel, load_prompted_model, measure_model_claims

CHECK_GLYPHS, NOISES, LANDING_SIDE = 1000, 200, 32
Measure = tuple[str, Callable[[], Claim | None]]
_OF_THE_MAP = ("map keeps", "clusters", "map neighbours", "map density")
_OF_DATA = ("glyphs", "pictures seen", "condition", "radicals mean", "token vectors")
_OF_A_MODEL = ("told of time", "generalises", "text helps", "one step", "gold", "prompts", "guidance obeys")
_BESIDE_GLYPHS = ("new", "looks real", "five steps", "guidance narrows")
"""Claims about a model that need real glyphs beside it."""
MISSING: dict[str, Missing] = {
    **dict.fromkeys(_OF_THE_MAP, "map"),
    **dict.fromkeys(_OF_DATA, "data"),
    **dict.fromkeys((*_OF_A_MODEL, *_BESIDE_GLYPHS), "model"),
    **dict.fromkeys(TRAINED, "training"),
}
"""What a claim that was not measured needs; all others always are."""


@dataclass(frozen=True)
class CheckedClaim:
    """A statement in words, and what was measured for it, see `core.theory.claims.Claim` and `figures.claims`.

    Attributes:
        part: of the argument.
        place: where in it the statement stands.
        source: who says it.
        measured: when and how it was measured, if not now.
    """

    name: str
    says: str
    found: str
    verdict: Verdict
    correction: str
    estimates: dict[str, Estimate]
    numbers: dict[str, float]
    part: str
    place: str
    source: str
    measured: str


@dataclass(frozen=True)
class CheckReport:
    """The guide's claims, measured; and the identity of the model that they were measured with, "" without one."""

    claims: list[CheckedClaim]
    source: str
    seconds: float
    model: str = ""


def check(options: NoiseDemoOptions) -> Generator[Event, None, CheckReport]:
    """Measure the claims; those about a trained model only if `model` is given. Writes nothing.

    What was not measured is taken from the records that ship with the program, and says so.

    Raises:
        GlyffError: the data, a font or the model cannot be used.
    """
    started = time.monotonic()
    model = None
    if options.model is not None:
        model = yield from load_prompted_model(
            options.model, options.encoder, GOLD[0], options.seed, choose_device(options.device)
        )
        if model.model.network.one_pass:
            raise ModelError("the claims are about diffusion, and this model draws in one pass; name another --model")
    glyphs = yield from gather_glyphs(options.data, options.font, options.char, options.seed)
    prepared = None if glyphs.folder is None else open_glyphs(glyphs.folder)
    schedule: Any = options.schedule
    scene, _ = make_scene(glyphs, None, options.font, schedule, options.seed)
    found: dict[str, Claim] = {}
    measures = [
        *_about_data(glyphs, prepared, scene, options.seed),
        *_about_noise(scene, options.seed),
        *_about_denoising(scene, options.seed),
        *_about_guidance(scene, options.seed),
    ]
    for done, (name, measure) in enumerate(measures):
        yield Progress("Measuring claims", done, len(measures), "claims", name)
        claim = measure()
        if claim is not None:
            found[claim.name] = claim
    yield Progress("Measuring claims", len(measures), len(measures), "claims")
    more = [] if glyphs.folder is None else (yield from measure_map(glyphs.folder, options.ids, options.seed))
    if model is not None:
        more += yield from measure_model_claims(model, glyphs)
        more += yield from measure_trained(model, prepared)
    found |= {claim.name: claim for claim in more}
    seconds = time.monotonic() - started
    yield Note(f"measured {len(found)} claims in {seconds:.1f} s", "claims-measured")
    identity = "" if model is None else model.model.identity
    source = glyphs.defined[1] if glyphs.defined else ""
    checked = [
        _in_words(claim, part, source, measured) for part, claim, measured in _with_records(found, model, identity)
    ]
    return CheckReport(checked, glyphs.source, time.monotonic() - started, identity)


def _with_records(found: dict[str, Claim], model: PromptedModel | None, identity: str) -> list[tuple[str, Claim, str]]:
    """All claims of the register in its order, each with its part; those not in `found` from the records."""
    records = [read_trained(pretrained(TRAINED_FILE)), _shipped(identity)]
    rows = []
    for part in PARTS:
        for entry in part.entries:
            name = entry.name
            claim, measured = found.get(name), ""
            for record in records:
                if claim is None and name in record.claims:
                    claim, measured = record.claims[name], record.measured[name]
            if claim is None:
                missing = MISSING[name]
                if missing == "model" and model is not None:
                    latent = name == "generalises" and isinstance(model.drawer.codec, Latents)
                    missing = "pixels" if latent else "characters"
                claim = Claim(name, "not measured here", missing=missing)
            rows.append((part.title, claim, measured))
    return rows


def _shipped(identity: str) -> Record:
    """The record that ships, if it is of the weights that ship, and if these are measured or none.

    What was measured with other weights says nothing of these.
    """
    record = read_claims(pretrained(CLAIMS_FILE))
    if not record.claims:
        return record
    try:
        weights = load_model(model_path(Path("bundled"))).identity
    except ModelError:
        weights = ""
    known = record.model == weights and identity in ("", weights)
    about_models = {*_OF_A_MODEL, *_BESIDE_GLYPHS}
    kept = {name: claim for name, claim in record.claims.items() if known or name not in about_models}
    return Record(kept, record.measured, record.model)


def _about_data(glyphs: DemoGlyphs, prepared: GlyphSet | None, scene: DemoScene, seed: int) -> list[Measure]:
    pictures = to_unit(glyphs.pictures)[:CHECK_GLYPHS, None]
    noise = normal(0, torch.arange(NOISES), tuple(pictures.shape[1:]), seed)
    measures: list[Measure] = [
        ("gaussian fit", lambda: data_claims.gaussian_fit(seed)),
        ("pixels", lambda: data_claims.pixels(glyphs.pictures[:CHECK_GLYPHS])),
        ("not Gaussian", lambda: data_claims.not_gaussian(scene.glyphs, seed)),
        ("dimension", lambda: data_claims.dimension(scene.glyphs, seed)),
        ("independent noise", lambda: data_claims.independent_noise(noise, pictures)),
        *(
            (f"pure noise, {name}", lambda name=name: claims.pure_noise(pictures, name, seed=seed))
            for name in SCHEDULES
        ),
        ("context", lambda: claims_text.measure_context(claims_text.bundled_encoder())),
    ]
    if glyphs.defined is not None:
        count = glyphs.defined[0]
        measures += [
            ("glyphs", lambda: claims.glyph_count(count)),
            ("pictures seen", lambda: claims.pictures_seen(count)),
        ]
    characters: list[Character] = glyphs.characters if prepared is None else prepared.characters
    some = claims_text.defined(characters)
    if some:
        measures += [
            ("token vectors", lambda: claims_text.measure_tokens(claims_text.bundled_encoder(), some)),
            ("radicals mean", lambda: claims_text.measure_radicals(some, seed)),
        ]
    if prepared is not None:  # what a font gave has more of some radicals than there are
        measures.append(("condition", lambda: claims_text.measure_condition(characters)))
    return measures


def _about_noise(scene: DemoScene, seed: int) -> list[Measure]:
    whole = spectrum(scene.glyphs)
    thin = thin_spectrum(spectrum(scene.of_size(sampler_error_plot.SIDE)))
    return [
        ("evenness", lambda: claims.evenness(scene.known, whole)),
        ("one jump", lambda: claims.one_jump(seed=seed)),
        ("shrinking", lambda: claims.shrinking(seed=seed)),
        ("horizon", lambda: noising_claims.horizon(scene.glyphs.mean(0), whole)),
        ("becomes noise", lambda: noising_claims.becomes_noise(scene.plane)),
        ("recognition", lambda: noising_claims.recognition(scene.known)),
        ("uniform times", lambda: noising_claims.uniform_times(whole)),
        ("even steps", lambda: noising_claims.even_steps(thin)),
        ("steps", lambda: claims.few_steps(thin)),
        ("evaluations", lambda: reverse_claims.evaluations(thin)),
        ("reverse variance", lambda: reverse_claims.reverse_variance(thin)),
        ("closer steps", lambda: denoising_claims.closer_steps(thin)),
    ]


def _about_denoising(scene: DemoScene, seed: int) -> list[Measure]:
    small = scene.of_size(LANDING_SIDE)
    tiny = resize(scene.glyphs, network_claims.SIDE)
    return [
        ("parameters", claims.parameters),
        ("noise and score", lambda: claims.score_factor(scene.glyphs[:200], seed)),
        ("score far away", lambda: claims.score_far_away(scene.plane)),
        ("fresh noise", lambda: reverse_claims.fresh_noise(seed)),
        ("small steps", lambda: reverse_claims.small_steps(scene.plane[:, 0], seed)),
        ("best guess", lambda: denoising_claims.best_guess(scene.glyphs, scene.known, seed)),
        ("noise or picture", lambda: denoising_claims.noise_or_picture(scene.glyphs, seed)),
        ("readable level", lambda: denoising_claims.readable_level(scene.glyphs, seed)),
        ("time embedding", network_claims.time_embedding),
        ("level range", network_claims.level_range),
        ("any network", lambda: network_claims.any_network(tiny, seed)),
        ("landing", lambda: denoising_claims.landing(small, seed)),
        ("uphill", lambda: denoising_claims.uphill(scene.plane, seed)),
        ("coverage", lambda: denoising_claims.coverage(scene.plane)),
        ("many levels", lambda: denoising_claims.many_levels(seed)),
    ]


def _about_guidance(scene: DemoScene, seed: int) -> list[Measure]:
    def aware() -> Claim:
        known = NoisyAccuracy.read()
        return guiding_claims.aware_of_noise(known.noisy, known.clean, known.commonest, known.sigma)

    half = torch.arange(len(scene.plane)) % 2
    groups = scene.groups if len(scene.group_names) > 1 else half
    return [
        ("Bayes", lambda: guiding_claims.bayes(scene.plane, groups, seed)),
        ("sharpening", guiding_claims.sharpening),
        ("two passes", guiding_claims.passes_of_guidance),
        ("noise-aware", aware),
        ("pixel cost", network_claims.pixel_cost),
        ("guide cost", network_claims.guide_cost),
    ]


def _in_words(claim: Claim, part: str, source: str, measured: str) -> CheckedClaim:
    says, found, correction = claim_text(claim, source)
    entry = REGISTER[claim.name]
    return CheckedClaim(
        claim.name, says, found, claim.verdict, correction, claim.estimates, claim.numbers,
        part, entry.place, SOURCES[entry.source], measured,
    )  # fmt: skip

"""What leads a model in `sample` besides prompts: loaded, and held against the model that it leads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from glyffctl.core.codecs.codec import Codec
from glyffctl.core.codecs.latents import Latents
from glyffctl.core.device import memory_free
from glyffctl.core.diffusion.classifier_guidance import NoisyClassifier
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.io.bundled import model_label, model_path
from glyffctl.core.models.checkpoint import Model, load_model
from glyffctl.core.models.drawer import Drawer, most_at_once
from glyffctl.core.models.guides import Guides, Lead
from glyffctl.core.models.recipe import Recipe
from glyffctl.core.networks.network import Network
from glyffctl.workflows.companions import CLASSIFIER
from glyffctl.workflows.events import Note
from glyffctl.workflows.guide_options import AwayOptions, LeadOptions
from glyffctl.workflows.models import load_any


class Guiding:
    """The guides of some options.

    Attributes:
        lead, away: the options with all that is known now, for a PNG.
    """

    def __init__(self, lead: LeadOptions | None, away: AwayOptions | None, model: Model, recipe: Recipe) -> None:
        """Load what the options name.

        Raises:
            GlyffError: there is none, it is damaged, has other weights than the options say, or does not fit `model`.
        """
        self.lead, self.away = lead, away
        self._recipe = recipe
        self._classifier = None if lead is None else _load_classifier(lead, model)
        self._worse = None if away is None else _load_worse(away, model, recipe)
        if lead is not None and self._classifier is not None:
            self.lead = replace(lead, weights=self._classifier.identity)
        if away is not None and self._worse is not None:
            self.away = replace(away, weights=self._worse.identity)

    @property
    def _networks(self) -> list[Network]:
        return [model.network for model in (self._classifier, self._worse) if model is not None]

    def take(self, drawer: Drawer) -> Drawer:
        """`drawer`, led by these guides, with a batch that they have memory for."""
        device, autocast = drawer.device, drawer.denoiser.autocast
        for network in self._networks:
            network.to(device)
        lead, worse = None, None
        if self._classifier is not None and self.lead is not None:
            levels = self._classifier.schedule.sigmas
            classifier = NoisyClassifier(self._classifier.network, autocast)
            ends = float(levels[0]), float(levels[-1])
            lead = Lead(classifier.gradient(self.lead.radical - 1), self.lead.scale, ends)
        if self._worse is not None:
            worse = Denoiser(self._worse.network, self._worse.prediction, autocast)
        memory = memory_free(device)
        batch = min([drawer.batch, *(most_at_once(network, drawer.codec, memory) for network in self._networks)])
        return replace(drawer, guides=Guides(worse, lead), batch=batch)

    def notes(self) -> Iterator[Note]:
        """What leads, a line each."""
        low, high = self._recipe.interval
        where = f" at σ ≥ {low:g}" if low > 0 else ""
        if math.isfinite(high):
            where = f" at σ from {low:g} to {high:g}"
        if self.lead is not None and self._classifier is not None:
            path = CLASSIFIER.path(self.lead.classifier)
            yield Note(
                f"led to the radical {self.lead.title} with scale {self.lead.scale:g}{where}, by the classifier: "
                f"{model_label(path)}, {self._classifier.history}",
                "classifier-leads",
                {"radical": self.lead.radical, "scale": self.lead.scale, "classifier": path},
            )
        if self.away is not None and self._worse is not None:
            yield Note(
                f"guided away from another model{where}: {self.away.model}, {self._worse.history}",
                "model-guides",
                {"model": self.away.model},
            )


def _load_classifier(options: LeadOptions, model: Model) -> Model:
    path = CLASSIFIER.path(options.classifier)
    label = model_label(path)
    classifier = load_model(path)
    if not classifier.network.classifies:
        raise ModelError(
            f"{label} draws pictures and names no radicals; train a classifier with `glyffctl train --preset "
            "classifier`"
        )
    if options.weights not in (None, classifier.identity):
        raise ModelError(f"{label} has other weights than the classifier that led the picture")
    if not _alike(classifier.codec, model.codec):
        raise UsageError(
            f"the classifier knows {_described(classifier.codec)}, the model draws {_described(model.codec)}; name "
            "another one with --classifier"
        )
    return classifier


def _load_worse(options: AwayOptions, model: Model, recipe: Recipe) -> Model:
    path = model_path(options.model)
    if not path.exists():
        raise UsageError(f"there is no model at {options.model}; name a run folder or a model file with --guide")
    worse = load_any(path)
    if worse.network.one_pass:
        raise UsageError("--guide names a model that draws in one pass and denoises nothing; name one that denoises")
    if options.weights not in (None, worse.identity):
        raise ModelError(f"{options.model} has other weights than the model that guided the picture")
    if not _alike(worse.codec, model.codec):
        raise UsageError(
            f"--guide names a model of {_described(worse.codec)}, the model draws {_described(model.codec)}; name one "
            "that draws the same"
        )
    ours, theirs = model.encoder, worse.encoder
    if worse.text_width != model.text_width or (
        ours.fingerprint and theirs.fingerprint and ours.fingerprint != theirs.fingerprint
    ):
        raise UsageError(
            f"--guide names a model of the text encoder {theirs.name or 'unknown'}, the model has "
            f"{ours.name or 'another'}; name one of the same encoder"
        )
    visited = model.levels(recipe)[:-1]
    visited = visited[(visited >= recipe.interval[0]) & (visited <= recipe.interval[1])]
    known = worse.schedule.sigmas
    if len(visited) and (float(visited[0]) > _MORE * float(known[-1]) or float(visited[-1]) * _MORE < float(known[0])):
        raise UsageError(
            f"--guide names a model for noise of σ from {known[0]:.3g} to {known[-1]:.3g}, guidance acts from "
            f"{visited[-1]:.3g} to {visited[0]:.3g}; add --interval {known[0]:.3g} {known[-1]:.3g}"
        )
    return worse


_MORE = 1.01  # levels that are as good as known: schedules end at rounded ones


def _alike(one: Codec, other: Codec) -> bool:
    """Whether two models diffuse the same."""
    if isinstance(one, Latents) and isinstance(other, Latents):
        return one.identity == other.identity
    return type(one) is type(other) and one.shape == other.shape


def _described(codec: Codec) -> str:
    channels = codec.shape[0]
    more = " in latents" if isinstance(codec, Latents) else f" in {channels} channels" if channels > 1 else ""
    return f"{codec.size}×{codec.size} pixels{more}"

"""The codec of a latent model in training: where it comes from, and how processes share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glyffctl.core.codecs.codec import LEARNED
from glyffctl.core.codecs.latents import Latents
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.errors import UsageError
from glyffctl.core.interop.diffusers_codec import find_autoencoder, load_autoencoder
from glyffctl.core.models.checkpoint import TrainedModel
from glyffctl.core.models.codec_file import load_codec, pack, unpack
from glyffctl.core.models.files import CODEC_FILE
from glyffctl.core.training.distributed import ProcessGroup


def choose_codec(
    named: Path | None, sections: dict[str, dict[str, Any]], data: Path, out: Path, start: TrainedModel | None
) -> Latents | None:
    """The codec with weights that a run uses, or None; what the settings say of it is put into `sections`.

    Args:
        named: what `codec` names, or None.
        sections: the settings.
        data: the data folder, which decides the size of pictures where a codec leaves it open.
        out: the run folder, which has a copy if the run goes on.
        start: the model that the run starts from, whose network knows its own codec alone.

    Raises:
        UsageError: none is named where one is needed, or the settings ask for another kind, or a size that it does not
            take.
        ModelError: it is no codec, or damaged.
    """
    settings = sections["codec"]
    if named is None and settings.get("kind") != LEARNED:
        return None
    if sections["training"].get("objective") == LEARNED:
        raise UsageError("an autoencoder learns from pixels; leave `codec` and codec.kind out")
    place = None if named is None else find_autoencoder(named)
    if settings.get("kind", LEARNED) != LEARNED:
        raise UsageError(f"`codec` names an autoencoder, codec.kind is {settings['kind']}; leave one of them out")
    if place is not None:  # it takes pictures of any size
        codec = load_autoencoder(place, settings["size"] if "size" in settings else open_glyphs(data).size)
    elif named is not None:
        codec = load_codec(named)
    elif start is not None and isinstance(start.codec, Latents):
        codec = start.codec
    elif (out / CODEC_FILE).exists():
        codec = load_codec(out)
    else:
        raise UsageError("a latent model needs a codec: name one with `codec`, such as a run of the preset autoencoder")
    if start is not None and sections["codec"].get("weights", codec.identity) != codec.identity:
        raise UsageError("the model to start from knows another codec than `codec` names; leave `codec` out")
    codec = codec.at(settings.get("size", codec.size))
    sections["codec"] = {"kind": LEARNED, "size": codec.size, "weights": codec.identity}
    return codec


def share_codec(codec: Latents | None, group: ProcessGroup) -> Latents | None:
    """The main process's codec in all processes."""
    tensors, header = ({}, None) if codec is None else pack(codec)
    header = group.broadcast(header)
    if header is None or group.size == 1:
        return codec
    return unpack(group.broadcast_tensors(tensors), header, Path(CODEC_FILE))

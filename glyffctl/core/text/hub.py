"""From the name of a pretrained model to its folder: with the program, local, downloaded before, or from the hub."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glyffctl.core.errors import EmbeddingError, GlyffError, ModelError
from glyffctl.core.io.bundled import BUNDLED, pretrained
from glyffctl.core.io.diffusers_files import shard_names, weight_files

_TIMEOUT = 10.0  # seconds until a hub that does not answer counts as out of reach


@dataclass(frozen=True)
class _ModelKind:
    """A kind of model on the hub.

    Attributes:
        noun, example, option: what it is called, the name of one, and the option that takes it.
        error: what is raised.
        include, exclude: the files that loading reads; nothing that could run code, and no other formats of the same
            weights.
        weights: of all files, those that hold the weights; [] where there are none.
        is_complete: whether a folder has all that loading needs.
    """

    noun: str
    example: str
    option: str
    error: type[GlyffError]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    weights: Callable[[Sequence[str]], list[str]]
    is_complete: Callable[[Path], bool]


def has_weights(folder: Path) -> bool:
    """Whether `folder` holds safetensors weights, in one file or in shards."""
    return any(folder.glob("*.safetensors"))


_ENCODER = _ModelKind(
    noun="text encoder",
    example="google-t5/t5-small",
    option="--encoder",
    error=EmbeddingError,
    include=("*.json", "*.safetensors", "*.model", "*.txt"),
    exclude=("*/*",),
    weights=lambda names: [name for name in names if name.endswith(".safetensors") and "/" not in name],
    is_complete=lambda folder: (folder / "config.json").is_file() and has_weights(folder),
)


def _network_weights(names: Sequence[str]) -> list[str]:
    """The files with the weights of a pipeline's network, which lie at the top or in `unet/`."""
    for place in ("", "unet/"):
        here = [name.removeprefix(place) for name in names if name.startswith(place)]
        if found := weight_files([name for name in here if "/" not in name], place or "the model"):
            return [place + name for name in found]
    return []


def _is_whole_pipeline(folder: Path) -> bool:
    names = [str(file.relative_to(folder)) for place in (".", "unet") for file in (folder / place).glob("*.*")]
    try:
        found = _network_weights(names)
        index = next((folder / name for name in found if name.endswith(".json")), None)
        found += [str(index.with_name(name).relative_to(folder)) for name in shard_names(index)] if index else []
    except ModelError:
        return False
    return (
        bool(found)
        and all((folder / name).is_file() for name in found)
        and all(has_weights(config.parent) for config in folder.glob("text_encoder/config.json"))
    )


_PIPELINE = _ModelKind(
    noun="model",
    example="yuewu/glyffuser",
    option="--model",
    error=ModelError,
    include=(
        "model_index.json",
        "config.json",
        "scheduler_config.json",
        "unet/config.json",
        "scheduler/*.json",
        "glyffctl.json",
        "text.safetensors",
        "text_encoder/*.json",
        "text_encoder/model*.safetensors",
        "tokenizer/*.json",
        "tokenizer/*.model",
        "tokenizer/*.txt",
    ),
    exclude=("*/*/*", "text_encoder/*.fp16.*"),
    weights=_network_weights,
    is_complete=_is_whole_pipeline,
)


def is_local(name: str | Path) -> bool:
    """Whether `name` means a folder here: a `Path`, a folder that exists, or text spelled like a path."""
    if name == BUNDLED:
        return False
    return isinstance(name, Path) or name.startswith((".", "~", "/")) or (name != "" and Path(name).is_dir())


def encoder_folder(name: str | Path) -> Path:
    """The folder with the files of a pretrained text encoder.

    A model that was downloaded before is taken as it is, without asking the Hugging Face hub. Otherwise the
    hub has ten seconds to answer; the download itself may take as long as it needs.

    Args:
        name: "bundled" for the encoder that comes with the program, a folder, or a name on the hub such as
            "google-t5/t5-small".

    Raises:
        EmbeddingError: no such folder or name, no network, or no safetensors weights there.
    """
    if name == BUNDLED:
        return pretrained("encoder")
    if is_local(name):
        folder = Path(name).expanduser().absolute()
        if not folder.is_dir():
            raise EmbeddingError(f"no text encoder at {folder}: there is no such folder")
        return folder
    return _cached_copy(str(name), _ENCODER) or _download(str(name), _ENCODER)


def pipeline_folder(name: str) -> Path:
    """The folder with a model of diffusers that is called `name` on the hub; as `encoder_folder` goes about it.

    Raises:
        ModelError: no such name, no network, or no safetensors weights there.
    """
    with _quiet():
        return _cached_copy(name, _PIPELINE) or _download(name, _PIPELINE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own log lines and bars off the terminal; errors still are exceptions."""
    from huggingface_hub.utils import logging  # noqa: PLC0415
    from huggingface_hub.utils.tqdm import (  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    verbosity, bars = logging.get_verbosity(), not are_progress_bars_disabled()
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            enable_progress_bars()


def _cached_copy(name: str, kind: _ModelKind) -> Path | None:
    """The complete copy of `name` in the hub's cache on this machine, if there is one."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    include, exclude = list(kind.include), list(kind.exclude)
    try:
        folder = Path(snapshot_download(name, allow_patterns=include, ignore_patterns=exclude, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise kind.error(
            f"{name!r} names no {kind.noun}: give a folder, or a name on the hub such as {kind.example}"
        ) from None
    return folder if kind.is_complete(folder) else None


def _download(name: str, kind: _ModelKind) -> Path:
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError  # noqa: PLC0415

    try:
        # Asked first, because snapshot_download itself sets no limit on how long the hub may be silent.
        files = HfApi().model_info(name, timeout=_TIMEOUT).siblings or []
    except GatedRepoError:
        raise kind.error(
            f"{name} is only for people the hub knows: accept its terms there, then run `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise kind.error(f"there is no model {name} on the hub, and no folder of that name") from None
    except _network_errors() as error:
        raise kind.error(
            f"the {kind.noun} {name} is not on this machine and the hub cannot be reached; run "
            f"`hf download {name} --local-dir FOLDER` on a machine with network, bring that folder here, "
            f"and use {kind.option} FOLDER"
        ) from error
    names = [file.rfilename for file in files]
    try:
        weights = kind.weights(names)
    except ModelError as error:
        raise kind.error(f"cannot use {name}: {error}") from error
    others = [file for file in names if file.endswith(".safetensors") and not file.startswith("text_encoder")]
    if others and not weights:
        raise kind.error(
            f"{name} has safetensors on the hub, {others[0]}, but none where such a {kind.noun} has its weights; "
            f"name another, or run `hf download {name} --local-dir FOLDER` and give {kind.option} what is in it"
        )
    if not weights:
        raise kind.error(
            f"{name} has no safetensors weights on the hub; other formats can run code when they are loaded: "
            f"name another {kind.noun}"
        )
    try:
        return Path(
            snapshot_download(name, allow_patterns=[*kind.include, *weights], ignore_patterns=list(kind.exclude))
        )
    except _network_errors() as error:
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise kind.error(f"cannot download the {kind.noun} {name}: {cause}; try again") from error


def _network_errors() -> tuple[type[Exception], ...]:
    """What a network, a hub or a full disk raises: the types of the library, and of what it asks through."""
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    # The library asks through requests, httpx or httpx2, depending on its version. hf_xet, which fetches large files,
    # raises RuntimeError for whatever happens; ValueError means an answer that is not JSON.
    kinds: list[type[Exception]] = [OSError, RuntimeError, ValueError]
    for kind in HfHubHTTPError.__mro__:
        if issubclass(kind, Exception) and kind.__module__ != "builtins":
            client = sys.modules[kind.__module__.partition(".")[0]]
            kinds += [kind, *(getattr(client, name) for name in ("InvalidURL",) if hasattr(client, name))]
    return tuple(kinds)

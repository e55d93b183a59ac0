"""The folder of a pretrained model, from its name: bundled, local, in the hub's cache, or downloaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glyffctl.core.errors import EmbeddingError, GlyffError, ModelError, first_line
from glyffctl.core.io.bundled import BUNDLED, pretrained
from glyffctl.core.io.diffusers_files import shard_names, weight_files

_TIMEOUT = 10.0  # seconds to wait for an answer of the hub


@dataclass(frozen=True)
class _ModelKind:
    """A kind of model on the hub.

    Attributes:
        noun: what messages call it.
        example: the name of one.
        field: the option that takes it.
        error: raised where it cannot be found or downloaded.
        include, exclude: patterns of the files to download: nothing that could run code, no second format of the
            weights.
        weights: selects the files with the weights from all files; [] where there are none.
        is_complete: whether a folder has all files that loading needs.
    """

    noun: str
    example: str
    field: str
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
    field="encoder",
    error=EmbeddingError,
    include=("*.json", "*.safetensors", "*.model", "*.txt"),
    exclude=("*/*",),
    weights=lambda names: [name for name in names if name.endswith(".safetensors") and "/" not in name],
    is_complete=lambda folder: (folder / "config.json").is_file() and has_weights(folder),
)


def _network_weights(names: Sequence[str]) -> list[str]:
    """The files with the weights of a pipeline's network, at the top or in `unet/`."""
    for place in ("", "unet/"):
        here = [name.removeprefix(place) for name in names if name.startswith(place)]
        if found := weight_files([name for name in here if "/" not in name], place or "the model"):
            return [place + name for name in found]
    return []


def _is_complete_pipeline(folder: Path) -> bool:
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
    field="model",
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
    is_complete=_is_complete_pipeline,
)


def is_local(name: str | Path) -> bool:
    """Whether `name` means a local folder: a `Path`, an existing folder, or text that looks like a path."""
    if name == BUNDLED:
        return False
    return isinstance(name, Path) or name.startswith((".", "~", "/")) or (name != "" and Path(name).is_dir())


def encoder_folder(name: str | Path) -> Path:
    """The folder of a pretrained text encoder, downloaded if necessary.

    A copy in the hub's cache is used without contacting the hub. Otherwise the hub must answer within ten seconds; the
    download itself has no time limit.

    Args:
        name: "bundled", a folder, or a name on the hub such as "google-t5/t5-small".

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
    """The folder of the diffusers model `name` on the hub, downloaded if necessary; see `encoder_folder`.

    Raises:
        ModelError: no such name, no network, or no safetensors weights there.
    """
    with _quiet():
        return _cached_copy(name, _PIPELINE) or _download(name, _PIPELINE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep log lines and progress bars of the hub's library off the terminal; errors still raise."""
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
        # First, because snapshot_download sets no time limit on an answer of the hub.
        files = HfApi().model_info(name, timeout=_TIMEOUT).siblings or []
    except GatedRepoError:
        raise kind.error(
            f"{name} needs an account on the hub: accept its terms there, then run `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise kind.error(f"there is no model {name} on the hub, and no folder of that name") from None
    except _network_errors() as error:
        raise kind.error(
            f"the {kind.noun} {name} is not on this machine and the hub cannot be reached; run "
            f"`hf download {name} --local-dir FOLDER` on a machine with network, copy that folder here, "
            f"and pass it as `{kind.field}`"
        ) from error
    names = [file.rfilename for file in files]
    try:
        weights = kind.weights(names)
    except ModelError as error:
        raise kind.error(f"cannot use {name}: {error}") from error
    others = [file for file in names if file.endswith(".safetensors") and not file.startswith("text_encoder")]
    if others and not weights:
        raise kind.error(
            f"{name} has safetensors on the hub, {others[0]}, but none where a {kind.noun} has its weights; "
            f"name another, or run `hf download {name} --local-dir FOLDER` and pass a folder in it as `{kind.field}`"
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
        raise kind.error(f"cannot download the {kind.noun} {name}: {first_line(error)}; try again") from error


def _network_errors() -> tuple[type[Exception], ...]:
    """Exceptions of the network, the hub or a full disk: those of the library, and of its HTTP client."""
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    # The HTTP client is requests, httpx or httpx2, depending on the version. hf_xet, which downloads large files,
    # raises RuntimeError for any failure; ValueError means an answer that is not JSON.
    kinds: list[type[Exception]] = [OSError, RuntimeError, ValueError]
    for kind in HfHubHTTPError.__mro__:
        if issubclass(kind, Exception) and kind.__module__ != "builtins":
            client = sys.modules[kind.__module__.partition(".")[0]]
            kinds += [kind, *(getattr(client, name) for name in ("InvalidURL",) if hasattr(client, name))]
    return tuple(kinds)

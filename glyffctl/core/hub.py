"""From the name of a pretrained model to its folder: with the program, local, downloaded before, or from the hub."""

from __future__ import annotations

from pathlib import Path

from glyffctl.core.bundled import BUNDLED, pretrained
from glyffctl.core.errors import EmbeddingError

# What loading a text encoder reads; nothing that could run code, and no other formats of the same weights.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt"]
_UNWANTED = ["*/*"]
_TIMEOUT = 10.0  # seconds until a hub that does not answer counts as out of reach


def is_local(name: str | Path) -> bool:
    """Whether `name` means a folder here: a `Path`, a folder that exists, or text spelled like a path."""
    if name == BUNDLED:
        return False
    return isinstance(name, Path) or name.startswith((".", "~", "/")) or (name != "" and Path(name).is_dir())


def has_weights(folder: Path) -> bool:
    """Whether `folder` holds safetensors weights, in one file or in shards."""
    return any(folder.glob("*.safetensors"))


def model_folder(name: str | Path) -> Path:
    """The folder with the files of a pretrained model.

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
    return _downloaded(str(name)) or _download(str(name))


def _downloaded(name: str) -> Path | None:
    """The complete copy of `name` in the hub's cache on this machine, if there is one."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise EmbeddingError(
            f"{name!r} names no text encoder: give a folder, or a name on the hub such as google-t5/t5-small"
        ) from None
    return folder if (folder / "config.json").is_file() and has_weights(folder) else None


def _download(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError  # noqa: PLC0415

    try:
        # Asked first, because snapshot_download itself sets no limit on how long the hub may be silent.
        files = HfApi().model_info(name, timeout=_TIMEOUT).siblings or []
    except GatedRepoError:
        raise EmbeddingError(
            f"{name} is only for people the hub knows: accept its terms there, then run `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise EmbeddingError(f"there is no model {name} on the hub, and no folder of that name") from None
    except Exception as error:  # what a network can do has other types in every version of the library
        raise EmbeddingError(
            f"the text encoder {name} is not on this machine and the hub cannot be reached; run "
            f"`hf download {name} --local-dir BUNDLED` on a machine with network, bring that folder here, "
            "and use --encoder BUNDLED"
        ) from error
    if not any(file.rfilename.endswith(".safetensors") and "/" not in file.rfilename for file in files):
        raise EmbeddingError(
            f"{name} has no safetensors weights on the hub; other formats can run code when they are loaded"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except Exception as error:
        cause = str(error).partition("\n")[0] or type(error).__name__
        raise EmbeddingError(f"cannot download the text encoder {name}: {cause}; try again") from error

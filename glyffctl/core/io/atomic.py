"""Atomic writing of files and folders: neither readers nor crashes ever leave a partial one.

A file is written in a folder of its own, `.NAME.TOKEN.tmp`, with a lock that the system releases when the writer dies.
The next writer of NAME removes leftovers without a lock.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glyffctl.core.errors import OutputError


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut (POSIX: the directory entry must be synced too)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def reason(error: OSError) -> str:
    """The system's message for an error, without number and path: 'No space left on device'."""
    return error.strerror or str(error)


def _lock(path: Path) -> int | None:
    """Lock a file or folder: the descriptor that holds the lock, or None if it cannot be locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a writer has the lock, or the file system has no locks
        os.close(descriptor)
        return None
    return descriptor


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` left behind, and restore what one was about to replace."""
    left = sorted(path.parent.glob(f".{glob.escape(path.name)}.????????.*"))
    for remains in left:
        descriptor = _lock(remains)
        if descriptor is None:
            continue
        try:
            if remains.suffix == ".old" and not path.exists():
                remains.rename(path)
            elif remains.suffix in (".tmp", ".old"):
                shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
        except OSError:
            pass  # no permission; leftovers do no harm
        finally:
            os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success sync the file there and rename it to `path`.

    If the block raises, the temporary file is removed and an existing `path` stays as it was. The temporary file has a
    folder of its own, which is removed with all that a library, such as safetensors, writes beside it.

    Args:
        path: the file to write; missing parents are made.

    Yields:
        The path to write to, on the same disk.

    Raises:
        OutputError: the folder cannot be made or written, the disk is full, or `path` is a folder.
    """
    folder = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary = folder / path.name
    descriptor = None
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        folder.mkdir()
        descriptor = _lock(folder)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # some libraries write files that only their owner can read
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        if descriptor is not None:
            os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Check that `path` can be written, before the work starts.

    Checks the nearest existing folder above `path`, or `path` itself if it is a folder.

    Raises:
        OutputError: it cannot be written.
    """
    above = path if path.is_dir() else path.absolute().parent
    folder = next(place for place in (above, *above.absolute().parents) if place.exists())
    if not folder.is_dir():
        raise OutputError(f"cannot write {path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write {path}: {folder} cannot be written to")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically.

    Raises:
        OutputError: the path cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_here(folder: Path) -> bool:
    """Whether this process works in `folder`; it may work in one that was deleted."""
    try:
        return Path.cwd().is_relative_to(folder)
    except FileNotFoundError:
        return False


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; on success it replaces `path`.

    The caller checks beforehand whether an existing `path` may be replaced.

    Args:
        path: the folder to write; of a link, its target is replaced.

    Yields:
        The folder to write into.

    Raises:
        OutputError: the parent cannot be written, the disk is full, `path` is a file, or this process works in it.
    """
    token = uuid.uuid4().hex[:8]
    target = Path(os.path.realpath(path))  # the target of a link is replaced, on its own disk
    temporary = target.with_name(f".{target.name}.{token}.tmp")
    replaced = target.with_name(f".{target.name}.{token}.old")
    descriptor = None
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(f"cannot write {path}: it is a file; name a folder")
        if path.exists() and _is_here(target):
            # A shell would stay in the folder that is replaced, and see neither the new one nor any file.
            raise OutputError(f"cannot write {path}: it is the folder you are in, and would be replaced; name another")
        _remove_leftovers(target)
        temporary.mkdir(parents=True)
        descriptor = _lock(temporary)
        yield temporary
        mode = 0o666 & ~_umask()
        for file in temporary.rglob("*"):
            if file.is_file() and not file.is_symlink():
                file.chmod(mode)  # see `atomic_file`
        _sync_folder(temporary)
        try:
            if target.exists():
                target.rename(replaced)
            temporary.rename(target)
            _sync_folder(target.parent)
        except BaseException:  # Ctrl-C as well: between the two renames there is no folder at all
            if not temporary.exists():
                target.rename(temporary)
            if replaced.exists() and not target.exists():
                replaced.rename(target)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        if descriptor is not None:
            os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)

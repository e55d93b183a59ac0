"""Creating and locking a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from glyffctl.core.errors import OutputError, TrainingError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.names import check_name
from glyffctl.core.models import checkpoint
from glyffctl.workflows.run_log import TENSORBOARD

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Lock the run folder for this block. The system releases the lock if the process is killed.

    Raises:
        TrainingError: another process holds the lock.
        OutputError: the folder cannot be locked.
    """
    lock = FileLock(out / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise TrainingError(
            f"another `train` is running in {out}; wait for it, or name another folder with --out"
        ) from None
    except (OSError, NotImplementedError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise OutputError(f"cannot use {out} as run folder: {why}; name another with --out") from error
    try:
        yield
    finally:
        lock.release()


def make_folder(out: Path) -> None:
    """Create the run folder if it does not exist.

    Raises:
        OutputError: it cannot be created, or holds files of something else.
    """
    check_name(out, OutputError)
    try:
        out.mkdir(parents=True, exist_ok=True)
        foreign = not (out / checkpoint.CONFIG_FILE).exists() and any(
            entry.name not in (LOCK_FILE, TENSORBOARD) and entry.suffix != ".tmp" for entry in out.iterdir()
        )
    except OSError as error:
        raise OutputError(f"cannot use {out} as run folder: {reason(error)}; name another with --out") from error
    if foreign:
        raise OutputError(f"{out} is not empty and not a run folder; name another with --out")

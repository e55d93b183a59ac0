"""Where errors end: one plain line on stderr and an exit code."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from glyffctl.cli.command import with_metavars
from glyffctl.core.errors import GlyffError
from glyffctl.core.io.names import printable
from glyffctl.version import __version__

_PACKAGE = Path(__file__).parents[1]
_TRACEBACK = "GLYFFCTL_TRACEBACK"
_NO_MEMORY = "not enough memory; make --batch, --size or the network smaller"


class _Terminated(BaseException):
    """SIGTERM as an exception, so that every `finally` runs."""


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Terminated


class Commands(TyperGroup):
    """The group of all commands; the one place where errors end."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters with their metavars set."""
        return with_metavars(super().get_params(ctx), ctx)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print its error, if any, as one line.

        Raises:
            typer.Exit: with the exit code of the error.
        """
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except GlyffError as error:
            message, code = with_options(str(error), self.commands.get(ctx.invoked_subcommand)), error.exit_code
        except OSError as error:
            if _reader_left():
                raise  # typer ends without a word
            where = f"{error.filename}: " if error.filename else ""
            message, code = f"{where}{error.strerror or error}", 1
        except MemoryError:
            message, code = _NO_MEMORY, 1
        except KeyboardInterrupt:
            message, code = "stopped", 130
        except _Terminated:
            message, code = "stopped", 143
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if hasattr(error, "message"):  # the parser's own error, which repeats what was typed
                error.message = printable(error.message)
                raise
            if os.environ.get(_TRACEBACK):
                raise
            if "DefaultCPUAllocator" in str(error):
                message, code = _NO_MEMORY, 1
            else:
                message, code = _of_gpu(error, self.commands.get(ctx.invoked_subcommand)) or _fault(error), 1
        from glyffctl.display.console import fail

        fail(message, "error: " if code <= 2 else "")
        raise typer.Exit(code)


def _reader_left() -> bool:
    """Whether what reads our output, such as `head`, is gone: that is no error."""
    try:
        sys.stdout.flush()
        if not hasattr(select, "poll"):  # Windows
            return False
        pipe = select.poll()  # what could not be written may be gone from the buffer: ask the pipe itself
        pipe.register(sys.stdout.fileno(), select.POLLERR)
        return bool(pipe.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):
        return False


def with_options(message: str, command: Any) -> str:
    """Replace the fields that `message` writes in backquotes by the options of `command` that set them.

    Args:
        message: an error of the library, such as "`min_dist` must be in 0…1, not 7".
        command: a click command whose parameters have the fields' names; None changes nothing.

    Returns:
        "--min-dist must be in 0…1, not 7". Names that are no option of the command stay as they are.
    """
    options = {}
    for param in command.params if command else ():
        long = next((name for name in param.opts if name.startswith("--")), None)
        if long:
            options[param.name] = long
    return re.sub(r"`(\w+)`", lambda found: options.get(found[1], found[0]), message)


def _of_gpu(error: Exception, command: Any) -> str | None:
    """What `error` says about a GPU, and what to do; None if it is about other things."""
    if not isinstance(error, RuntimeError) or "torch" not in sys.modules:
        return None
    from glyffctl.core.device import gpu_failure

    has_batch = command is not None and any(param.name == "batch" for param in command.params)
    return gpu_failure(error, "make --batch or the network smaller, or " if has_batch else "")


def _fault(error: Exception) -> str:
    """Describe an unexpected exception as a bug in glyffctl, with its place in the source."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents]
    place = (own or frames)[-1]
    where = Path(place.filename).relative_to(_PACKAGE.parent) if own else Path(place.filename).name
    detail = str(error).strip().partition("\n")[0][:300]
    return (
        f"a bug in glyffctl {__version__}, at {where}:{place.lineno}, {type(error).__name__}"
        f"{': ' + detail if detail else ''}; please report it, with the command and its output under {_TRACEBACK}=1"
    )

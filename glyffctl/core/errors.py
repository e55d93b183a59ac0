"""Errors that a user, a file or a disk can cause.

    GlyffError            the message is one plain line that says what to do; exit code 1
    ├── FontError         a font file or face
    ├── DefinitionsError  a definitions file
    ├── DataError         a data folder
    ├── EmbeddingError    a text encoder or cached embeddings
    ├── ModelError        a model, a checkpoint or a run folder
    ├── TrainingError     training that cannot continue
    ├── DeviceError       a GPU that cannot be used now
    ├── OutputError       a path to write to
    ├── UsageError        options that are not valid (exit code 2)
    └── Interrupted       stopped by a signal, with the work saved (exit code 130 after Ctrl-C, 143 after SIGTERM)

A message says what is wrong, with which file, then what to do. It names fields in backquotes, as in "`size` must be in
8…1024", which the command line replaces by its options. Bugs are caught by `assert`, not by these errors.
"""


class GlyffError(Exception):
    """Base of all errors that a user can cause; the command line ends with `exit_code`."""

    exit_code = 1


class FontError(GlyffError):
    """A font file that is missing or damaged, or has nothing to draw."""


class DefinitionsError(GlyffError):
    """A definitions file that is missing, damaged or in an unknown format."""


class DataError(GlyffError):
    """A data folder that is missing, incomplete or inconsistent."""


class EmbeddingError(GlyffError):
    """A text encoder that cannot be loaded, or cached embeddings that do not fit."""


class ModelError(GlyffError):
    """A model or checkpoint that is missing, damaged, or of another kind."""


class TrainingError(GlyffError):
    """Training that cannot start or continue."""


class DeviceError(GlyffError):
    """A GPU that is there but cannot be used: busy, full, or not supported by this PyTorch or its driver."""


class OutputError(GlyffError):
    """An output path that cannot be written."""


class UsageError(GlyffError):
    """Options that are not valid, or contradict each other."""

    exit_code = 2


class Interrupted(GlyffError):  # noqa: N818 (it is no error)
    """A signal stopped the work. The exit code is the shell's, 128 + the number of the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def first_line(error: BaseException, most: int = 200) -> str:
    """What the error of a library says, in one line of at most `most` characters; its type where it says nothing."""
    return str(error).strip().partition("\n")[0].rstrip(": ")[:most] or type(error).__name__

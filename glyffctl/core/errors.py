"""Everything that a user, a file or a disk can cause, as one small tree.

    GlyffError            one plain line that says what to do; the program ends with exit code 1
    ├── FontError         a font file or face
    ├── DefinitionsError  a definitions file
    ├── DataError         a data folder
    ├── EmbeddingError    a text encoder or cached embeddings
    ├── ModelError        a model, a checkpoint or a run folder
    ├── TrainingError     training that cannot go on
    ├── OutputError       a place to write to
    ├── UsageError        options that make no sense (exit code 2)
    └── Interrupted       asked to stop, with the work saved (exit code 130 after Ctrl-C, 143 after SIGTERM)

The message is written for the person at the terminal: what is wrong with which file, then what to do. What cannot
happen unless the program is wrong is an `assert`, not an error of this tree.
"""


class GlyffError(Exception):
    """Base of all errors a user can cause. `exit_code` is what the command line ends with."""

    exit_code = 1


class FontError(GlyffError):
    """A font file that is missing, broken, or holds nothing we can draw."""


class DefinitionsError(GlyffError):
    """A definitions file that is missing, broken or in a format we do not know."""


class DataError(GlyffError):
    """A data folder that is missing, incomplete or inconsistent."""


class EmbeddingError(GlyffError):
    """A text encoder that cannot be had, or cached embeddings that do not fit."""


class ModelError(GlyffError):
    """A model or checkpoint that is missing, cut short, or of another kind."""


class TrainingError(GlyffError):
    """Training that cannot start or cannot go on."""


class OutputError(GlyffError):
    """An output path that cannot be written."""


class UsageError(GlyffError):
    """Options that are wrong or contradict each other."""

    exit_code = 2


class Interrupted(GlyffError):  # noqa: N818 (it is no error)
    """Asked to stop by a signal. The exit code is the shell's for that signal, 128 + its number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

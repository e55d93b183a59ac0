"""Files and folders are whole or absent, whatever happens while they are written."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glyffctl.core.errors import OutputError
from glyffctl.core.io.atomic import atomic_file, atomic_folder, write_text

LONG = "x" * 250  # a legal name, but not with anything added to it


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def tree(folder: Path) -> dict[str, str | None]:
    """Everything below `folder`, hidden or not, with the content of files."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def make_file(path: Path, text: str = "new") -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text)


def make_folder(path: Path, text: str = "new") -> None:
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text(text)


def test_file_appears_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    make_file(path, "one")
    make_file(path, "two")
    assert tree(path.parent) == {"file.txt": "two"}


@pytest.mark.parametrize("below", [".", "sub"])
def test_a_folder_that_this_process_works_in_is_not_replaced(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (out / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(out / below)
    before = tree(tmp_path)
    for path in (Path() if below == "." else Path(".."), out):
        with pytest.raises(OutputError, match="the folder you are in"):
            make_folder(path)
    assert tree(tmp_path) == before
    make_folder(out / "beside")
    assert (out / "beside/a").read_text() == "new"


def test_file_is_not_there_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent.parent == path.parent  # a rename within one disk
    assert path.read_text() == "new"


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with atomic_file(path) as first, atomic_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert tree(tmp_path) == {"file.txt": "first"}


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("existing", [False, True])
def test_exception_leaves_the_old_file(tmp_path: Path, error: BaseException, existing: bool) -> None:
    path = tmp_path / "file.txt"
    if existing:
        path.write_text("old")
    before = tree(tmp_path)
    with pytest.raises(type(error)) as caught, atomic_file(path) as temporary:
        temporary.write_text("half of")
        raise error
    assert caught.value is error
    assert tree(tmp_path) == before


def test_disk_error_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with (
        pytest.raises(OutputError, match=r"^cannot write .*file\.txt: No space left on device$"),
        atomic_file(path) as temporary,
    ):
        temporary.write_text("half of")
        with Path("/dev/full").open("w") as full:
            full.write("x" * 100_000)
    assert tree(tmp_path) == {"file.txt": "old"}


def test_sync_comes_before_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    original = Path.replace

    def replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return original(path, target)

    monkeypatch.setattr(os, "fsync", lambda _: done.append("sync"))
    monkeypatch.setattr(Path, "replace", replace)
    make_file(tmp_path / "file.txt")
    assert done == ["sync", "rename", "sync"]  # the content; the name; the folder that holds the name


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path, folder = tmp_path / "file.txt", tmp_path / "folder"
    with umask(mask):
        with atomic_file(path) as temporary:
            temporary.touch(0o600)  # as libraries do that make their own files
        with atomic_folder(folder) as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / "file").touch(0o600)
        assert os.umask(mask) == mask
    assert stat.S_IMODE((folder / "inner" / "file").stat().st_mode) == mode
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask


def test_write_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "锂\n")
    assert (tmp_path / "file.txt").read_bytes() == "锂\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file.txt", "half \udc80")
    assert tree(tmp_path) == {"file.txt": "锂\n"}


@pytest.mark.parametrize("make", [make_file, make_folder])
@pytest.mark.parametrize(
    ("name", "words"),
    [("taken", "it is a f"), ("file/below", "Not a directory|File exists"), (LONG, "too long"), (2 * LONG, "too long")],
)
def test_places_that_cannot_be_written(tmp_path: Path, make: Callable[[Path], None], name: str, words: str) -> None:
    (tmp_path / "file").write_text("old")
    if make is make_file:
        (tmp_path / "taken").mkdir()
    else:
        (tmp_path / "taken").write_text("old")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=words) as caught:
        make(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


def test_folder_appears_and_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "data"
    make_folder(path, "one")
    (path / "stale").write_text("x")
    make_folder(path, "two")
    assert tree(path.parent) == {"data": None, "data/a": "two"}
    monkeypatch.chdir(tmp_path)
    make_folder(Path("here"), "three")
    assert (tmp_path / "here" / "a").read_text() == "three"


def test_a_folder_is_replaced_from_one_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, out = tmp_path / "gone", tmp_path / "out"
    gone.mkdir()
    out.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with atomic_folder(out) as folder:
        (folder / "new").touch()
    assert (out / "new").exists()
    monkeypatch.chdir(tmp_path)


def test_folder_that_a_link_names_is_replaced(tmp_path: Path) -> None:
    real = tmp_path / "large disk"
    make_folder(real / "data", "old")
    (tmp_path / "data").symlink_to(real / "data")
    make_folder(tmp_path / "data", "new")
    assert (tmp_path / "data").is_symlink()
    assert tree(real) == {"data": None, "data/a": "new"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "large disk"]


def test_link_loop_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match="cannot write"):
        make_folder(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("existing", [False, True])
def test_exception_leaves_the_old_folder(tmp_path: Path, error: BaseException, existing: bool) -> None:
    path = tmp_path / "data"
    if existing:
        make_folder(path, "old")
    before = tree(tmp_path)
    with pytest.raises(type(error)) as caught, atomic_folder(path) as temporary:
        (temporary / "a").write_text("half of")
        (temporary / "below").mkdir()
        raise error
    assert caught.value is error
    assert tree(tmp_path) == before


@contextmanager
def failing_rename(monkeypatch: pytest.MonkeyPatch, calls: set[int], error: BaseException) -> Iterator[None]:
    """`Path.rename` raises `error` when it is called for the first, second, … time, as `calls` says."""
    number = 0
    original = Path.rename

    def rename(path: Path, target: Path) -> Path:
        nonlocal number
        number += 1
        if number in calls:
            raise error
        return original(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        yield


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [1, 2])
def test_old_folder_comes_back_when_the_swap_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, failing: int
) -> None:
    path = tmp_path / "data"
    make_folder(path, "old")
    expected: type[BaseException] = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with failing_rename(monkeypatch, {failing}, error), pytest.raises(expected):
        make_folder(path)
    assert tree(tmp_path) == {"data": None, "data/a": "old"}


def test_old_folder_is_never_deleted_before_the_new_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    make_folder(path, "old")
    # Neither the new folder nor the old one can be moved into place.
    with (
        failing_rename(monkeypatch, {2, 3}, OSError(5, "Input/output error")),
        pytest.raises(OutputError, match="Input/output error"),
    ):
        make_folder(path)
    assert [text for text in tree(tmp_path).values() if text] == ["old"]


DIES_WRITING = """
import os, signal, sys
from pathlib import Path
from glyffctl.core.io.atomic import atomic_file, atomic_folder
kind, path, moment = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
if moment == "between the renames":
    rename = Path.rename
    Path.rename = lambda self, to: (rename(self, to), os.kill(os.getpid(), signal.SIGKILL))
with (atomic_file if kind == "file" else atomic_folder)(path) as temporary:
    (temporary if kind == "file" else temporary / "a").write_text("half")
    if moment == "inside":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def die(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", DIES_WRITING, *arguments], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.hostile
@pytest.mark.parametrize("make", [make_file, make_folder])
def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path, make: Callable[[Path, str], None]) -> None:
    out = tmp_path / "[out]"
    kind = "file" if make is make_file else "folder"
    make(out, "old")
    before = tree(tmp_path)
    die(kind, str(out), "inside")
    assert len(list(tmp_path.iterdir())) == 2 and before.items() <= tree(tmp_path).items()
    make(out, "old")
    assert tree(tmp_path) == before


@pytest.mark.hostile
def test_a_folder_whose_writer_was_killed_between_two_renames_comes_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_folder(out, "old")
    die("folder", str(out), "between the renames")
    assert not out.exists()
    with pytest.raises(ZeroDivisionError), atomic_folder(out):
        assert (out / "a").read_text() == "old"
        raise ZeroDivisionError
    assert tree(tmp_path) == {"out": None, "out/a": "old"}


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_file(path) as one:
        one.write_text("one")
        make_file(path, "two")
        assert one.exists()
    assert path.read_text() == "one"

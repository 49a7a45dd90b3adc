"""A file is written atomically; a pipe or a device is written to."""

import os
import stat
import threading
from pathlib import Path

import pytest

from signedfor.errors import Unavailable
from signedfor.files import atomic_write


def test_it_appears_when_it_is_complete(tmp_path: Path) -> None:
    """Until then the earlier file stays; line ends and characters are not changed."""
    target = tmp_path / "report.csv"
    target.write_text("earlier")

    with atomic_write(target) as file:
        file.write("Zoë\r\n")
        file.flush()
        assert "earlier" == target.read_text()

    assert "Zoë\r\n".encode() == target.read_bytes()
    assert 0o600 == stat.S_IMODE(target.stat().st_mode)
    assert [target] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [TimeoutError("no answer"), KeyboardInterrupt()])
def test_an_error_of_the_caller_passes_through(tmp_path: Path, error: BaseException) -> None:
    """It is not reported as an error of the file, and no file remains."""

    def half_written() -> None:
        with atomic_write(tmp_path / "report.csv") as file:
            file.write("half")
            raise error

    with pytest.raises(type(error)):
        half_written()

    assert [] == list(tmp_path.iterdir())


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Its target is replaced."""
    target, link = tmp_path / "real.csv", tmp_path / "link.csv"
    target.touch()
    link.symlink_to(target)

    with atomic_write(link) as file:
        file.write("all")

    assert link.is_symlink()
    assert "all" == target.read_text()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """It is not replaced by a file, nor is a device."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()

    with atomic_write(pipe) as file:
        file.write("all")

    reader.join(10)
    assert ["all"] == read
    assert pipe.is_fifo()


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    """While writing and at the end."""
    full = tmp_path / "report.csv"
    full.symlink_to("/dev/full")

    with pytest.raises(Unavailable, match="No space left on device"), atomic_write(full) as file:
        file.write("x")
    with pytest.raises(Unavailable, match="No space left on device"), atomic_write(full) as file:
        file.write("x" * 100_000)


@pytest.mark.parametrize("name", ["", "none/report.csv"])
def test_a_path_where_no_file_can_be_written(tmp_path: Path, name: str) -> None:
    """It is a folder, or its folder does not exist."""
    with pytest.raises(Unavailable, match="cannot be written"), atomic_write(tmp_path / name):
        pass

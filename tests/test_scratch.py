"""What a run needs for a moment is gone with it, or with the next run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import scratch

MAKES = "from pipeline import scratch; print(scratch.folder(), flush=True); "


def make(tmp_path: Path, then: str) -> Path:
    """The folder of a process that has ended."""
    done = subprocess.run(
        [sys.executable, "-c", MAKES + then],
        capture_output=True,
        text=True,
        cwd=Path(scratch.__file__).parents[1],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    return Path(done.stdout.strip())


def test_folder_is_gone_when_its_process_exits(tmp_path: Path) -> None:
    made = make(tmp_path, "(scratch.folder() / 'left').write_text('')")
    assert made.parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_threads_that_ask_at_once_get_one_folder(tmp_path: Path) -> None:
    asks = "import threading; "
    asks += "many = [threading.Thread(target=scratch.folder) for _ in range(20)]; "
    asks += "[one.start() for one in many]; [one.join() for one in many]"
    program = "from pipeline import scratch; " + asks
    command = [sys.executable, "-c", program]
    where = Path(scratch.__file__).parents[1]
    subprocess.run(command, check=True, cwd=where, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert not list(tmp_path.iterdir())


def test_folder_of_a_killed_process_is_gone_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert made.is_dir()
    notes = tmp_path / "slipway-notes-of-mine"
    notes.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", MAKES + "input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(scratch.__file__).parents[1],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as living:
        assert living.stdout is not None
        place = Path(living.stdout.readline().strip())
        assert not made.exists()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        scratch.clear_abandoned()
        assert sorted(tmp_path.iterdir()) == sorted([notes, place]), "one that lives keeps its own"
        living.communicate("\n")
    assert list(tmp_path.iterdir()) == [notes]


def test_folder_that_cannot_be_removed_whole_keeps_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next run knows it: what is written while it is removed stays at first."""
    made = make(tmp_path, "import os, signal; (scratch.folder() / 'job').mkdir(); os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", lambda path, ignore_errors: None)
        scratch.clear_abandoned()
    assert sorted(path.name for path in made.iterdir()) == ["held", "job"]
    scratch.clear_abandoned()
    assert not made.exists()

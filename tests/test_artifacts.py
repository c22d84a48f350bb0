"""Folders are moved into place whole, and believed only when their digests hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import artifacts, errors
from pipeline.artifacts import Manifest

KEY = {"inputs": {"source": "abc"}, "settings": {"opset": 14}}


def commit(folder: Path, content: str = "weights", key: dict | None = None) -> None:
    with artifacts.staging(folder.parent.parent) as staged:
        (staged / "policy.bin").write_text(content)
        artifacts.commit(staged, folder, Manifest(key or KEY, artifacts.digests(staged)))


@pytest.fixture
def a_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts" / "agent" / "onnx"
    commit(folder)
    return folder


def test_committed_folder_is_fresh(a_folder: Path) -> None:
    assert artifacts.fresh(a_folder, KEY)


def test_folder_without_manifest_is_not_fresh(a_folder: Path) -> None:
    (a_folder / "manifest.json").unlink()
    assert not artifacts.fresh(a_folder, KEY)


@pytest.mark.parametrize("change", ["flip", "truncate", "delete", "garble the manifest", "same size and time"])
def test_damage_is_noticed(a_folder: Path, change: str) -> None:
    path = a_folder / "policy.bin"
    if change == "flip":
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    elif change == "truncate":
        os.truncate(path, 0)
    elif change == "delete":
        path.unlink()
    elif change == "garble the manifest":
        (a_folder / "manifest.json").write_text('{"key": ')
    else:
        times = path.stat()
        path.write_text("stwhgie")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        artifacts._digests.clear()  # the next run is another process
    assert not artifacts.fresh(a_folder, KEY)


def test_other_key_is_not_fresh(a_folder: Path) -> None:
    assert not artifacts.fresh(a_folder, {**KEY, "settings": {"opset": 15}})


def test_equal_files_keep_what_was_made_from_them(a_folder: Path) -> None:
    (a_folder / "onnxruntime").mkdir()
    commit(a_folder, key={**KEY, "code": "new"})
    assert (a_folder / "onnxruntime").is_dir()
    assert artifacts.fresh(a_folder, {**KEY, "code": "new"})


def test_other_files_replace_the_folder_whole(a_folder: Path) -> None:
    (a_folder / "onnxruntime").mkdir()
    commit(a_folder, content="other weights")
    assert not (a_folder / "onnxruntime").exists()
    assert artifacts.fresh(a_folder, KEY)


def test_failure_leaves_the_old_folder_and_no_staging(a_folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), artifacts.staging(a_folder.parent.parent) as staged:
        (staged / "policy.bin").write_text("half")
        raise ZeroDivisionError
    assert artifacts.fresh(a_folder, KEY)
    assert not list(a_folder.parent.parent.rglob("half"))
    assert not list(a_folder.parent.parent.rglob(".staging/*"))


def test_second_run_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with artifacts.lock(tmp_path), pytest.raises(errors.ArtifactsBusy, match=rf"pid {os.getpid()}, since \d\d:\d\d"):
        with artifacts.lock(tmp_path):
            pass


def test_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from pipeline import artifacts\n"
        "with artifacts.lock(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parents[1])
    (tmp_path / ".staging" / "left").mkdir(parents=True)
    with artifacts.lock(tmp_path):
        assert not (tmp_path / ".staging" / "left").exists()


def test_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file")
    with pytest.raises(errors.ArtifactsNotWritable) as caught, artifacts.lock(tmp_path / "artifacts"):
        pass
    assert "./doit artifacts=FOLDER" in str(caught.value)


def test_full_disk_is_told_and_nothing_is_replaced(a_small_disk: Path) -> None:
    folder = a_small_disk / "agent" / "onnx"
    commit(folder)
    with pytest.raises(errors.DiskFull, match="The disk is full"), artifacts.staging(a_small_disk) as staged:
        with artifacts.writing(staged):
            (staged / "policy.bin").write_bytes(bytes(300_000))
    assert artifacts.fresh(folder, KEY)


def test_manifest_is_sorted_json(a_folder: Path) -> None:
    text = (a_folder / "manifest.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"

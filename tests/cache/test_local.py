"""A cache in a folder gives back what it was given, or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cache
from pipeline.artifacts import Manifest, digests
from pipeline.cache import local
from pipeline.cache.local import Local, Source

SOURCE = Source("onnx:convert", {"inputs": {"zip": "ab"}, "settings": {"opset": 14}})
FILES = {"policy.onnx": b"a graph" * 99, "deep/er/weights.bin": b"\0" * 5000, "empty": b""}


def made(folder: Path, files: dict[str, bytes] = FILES, source: Source = SOURCE) -> Manifest:
    """An artifact and its manifest."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return Manifest(source.key, digests(folder), versions={"onnx": "1.16"})


@pytest.fixture
def full(tmp_path: Path) -> Local:
    store = Local(tmp_path / "cache", 1e9)
    folder = tmp_path / "made"
    store.add(SOURCE, made(folder), folder)
    return store


def got(store: Local, target: Path, source: Source = SOURCE) -> dict[str, bytes] | None:
    """The files that the cache gives; None where it gives nothing."""
    entry = store.find(local.address(source))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    if entry is None or not store.copy(entry, target):
        return None
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def stored(store: Local, kind: str) -> list[Path]:
    return sorted((store.root / kind).glob("*/*"))


def test_what_was_kept_is_given_back(full: Local, tmp_path: Path) -> None:
    entry = full.find(local.address(SOURCE))
    assert entry is not None
    assert (entry.manifest.key, entry.manifest.status, entry.manifest.versions) == (
        SOURCE.key,
        "built",
        {"onnx": "1.16"},
    )
    assert got(full, tmp_path / "to") == FILES


@pytest.mark.parametrize(
    "other",
    [
        Source("onnx:convert", {"inputs": {"zip": "cd"}, "settings": {"opset": 14}}),
        Source("onnx_core:convert", SOURCE.key),
        Source("onnx:convert", SOURCE.key, "the source was not made"),
    ],
)
def test_another_key_step_or_reason_is_another_address(full: Local, other: Source) -> None:
    assert full.find(local.address(other)) is None


def test_another_kind_of_machine_is_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    here = local.address(SOURCE)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert local.address(SOURCE) != here


def test_every_flipped_bit_of_a_blob_is_found_and_the_entry_dropped(full: Local, tmp_path: Path) -> None:
    place = full.place("blobs", hashlib.sha256(FILES["policy.onnx"]).hexdigest())
    whole = place.read_bytes()
    for position in range(0, len(whole) * 8, 97):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        place.write_bytes(flipped)
        assert got(full, tmp_path / "to") is None
        assert not place.exists()
        assert full.find(local.address(SOURCE)) is None
        full.add(SOURCE, made(tmp_path / "made"), tmp_path / "made")
    assert got(full, tmp_path / "to") == FILES, "what was dropped is kept anew"


def test_every_flipped_bit_of_an_entry_is_found(full: Local) -> None:
    place = full.place("entries", local.address(SOURCE))
    whole = place.read_bytes()
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        place.write_bytes(flipped)
        assert full.find(place.name) is None, position


@pytest.mark.parametrize("length", [0, 1, 64, 65, 66, 200])
def test_entry_that_is_cut_short_is_dropped(full: Local, length: int) -> None:
    place = full.place("entries", local.address(SOURCE))
    place.write_bytes(place.read_bytes()[:length])
    assert full.find(place.name) is None
    assert not place.exists()


def test_entry_under_another_name_is_dropped(full: Local, tmp_path: Path) -> None:
    other = local.address(Source("tflite:convert", {}))
    place = full.place("entries", other)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(full.place("entries", local.address(SOURCE)), place)
    assert full.find(other) is None


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out"])
def test_entry_that_leads_out_of_its_folder_is_dropped(full: Local, name: str) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    told = {"files": {name: digest}, "status": "built", "reason": "", "versions": {}}
    body = local._text({"source": local._described(SOURCE), "made": told})
    text = f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}"
    assert local.read(text, local.address(SOURCE)) is None
    assert local.read(text.replace(name, "in"), local.address(SOURCE)) is None, "and its text was changed"


@given(st.binary(max_size=300))
def test_no_bytes_make_an_entry(content: bytes) -> None:
    assert local.read(content.decode("utf-8", errors="replace"), local.address(SOURCE)) is None
    digest = hashlib.sha256(content.decode("utf-8", errors="replace").encode()).hexdigest()
    assert local.read(f"{digest}\n{content.decode('utf-8', errors='replace')}", local.address(SOURCE)) is None


def test_folder_that_is_no_cache_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "entries").write_text("a file")
    assert Local(tmp_path, 1e9).find(local.address(SOURCE)) is None
    assert Local(tmp_path / "absent", 1e9).size() == (0, 0)


def test_what_was_used_longest_ago_is_pruned(tmp_path: Path) -> None:
    store = Local(tmp_path / "cache", 10_000)
    sources = [Source("onnx:convert", {"number": number}) for number in range(5)]
    for number, source in enumerate(sources):
        folder = tmp_path / str(number)
        store.add(source, made(folder, {"file": bytes([number]) * 3000}, source), folder)
        os.utime(store.place("entries", local.address(source)), (1e9 + number, 1e9 + number))
    for blob in stored(store, "blobs"):
        os.utime(blob, (1e9, 1e9))
    assert store.find(local.address(sources[0])), "which is a use"
    assert store.prune() == 2
    left = [number for number, source in enumerate(sources) if store.find(local.address(source))]
    assert left == [0, 3, 4]
    assert [got(store, tmp_path / "to", sources[number]) for number in left] == [
        {"file": bytes([number]) * 3000} for number in left
    ]
    assert store.size() == (3, 9000)


def test_blob_that_a_run_may_be_writing_is_not_pruned(tmp_path: Path) -> None:
    store = Local(tmp_path / "cache", 10)
    folder = tmp_path / "made"
    store.add(SOURCE, made(folder), folder)
    store.prune()
    assert stored(store, "entries") == []
    assert len(stored(store, "blobs")) == len(FILES), "they are younger than an hour"


def test_check_finds_every_damaged_file(full: Local) -> None:
    stored(full, "blobs")[0].write_bytes(b"other")
    stored(full, "entries")[0].write_text("other")
    assert full.check() == (1, 1)
    assert full.check() == (0, 0)


def test_runs_that_keep_at_once_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    manifest = made(folder)
    stores = [Local(tmp_path / "cache", 1e9) for _ in range(8)]
    threads = [
        threading.Thread(target=lambda store=store: [store.add(SOURCE, manifest, folder) for _ in range(20)])
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got(stores[0], tmp_path / "to") == FILES
    assert not [path for path in (tmp_path / "cache").rglob(".*")], "nothing half written is left"


def test_file_that_changed_since_its_manifest_is_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    manifest = made(folder)
    (folder / "policy.onnx").write_bytes(b"another graph")
    store = Local(tmp_path / "cache", 1e9)
    store.add(SOURCE, manifest, folder)
    assert store.find(local.address(SOURCE)) is None


def test_cache_that_cannot_be_written_is_a_remark_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    found = cache.Cache(Local(tmp_path / "cache", 1e9))
    folder = tmp_path / "made"
    manifest = made(folder)
    for _ in range(2):
        found.keep(SOURCE, manifest, folder)
    assert len(found.complaints) == 1
    assert found.complaints[0] == f"nothing more goes into the cache {tmp_path / 'cache'}: Not a directory"
    assert found.find(SOURCE) is None
    found.close()


def test_full_disk_under_the_cache_leaves_nothing_half_written(a_small_disk: Path, tmp_path: Path) -> None:
    found = cache.Cache(Local(a_small_disk, 1e9))
    folder = tmp_path / "made"
    found.keep(SOURCE, made(folder, {"large": os.urandom(1_000_000)}), folder)
    assert found.complaints == [f"nothing more goes into the cache {a_small_disk}: No space left on device"]
    assert not [path for path in a_small_disk.rglob("*") if path.is_file()]

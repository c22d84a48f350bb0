"""A cache in a folder that many runs may use at once.

``blobs/ab/abcd…`` are files, named by their sha256. ``entries/ab/abcd…`` says which of them a step made, and from
what; its name is the digest of that, and its first line the digest of its text. Both are written beside their place and
renamed, so there is nothing half written; and both are held to their digests when they are used, so that what is
damaged or not what its name says is dropped, and made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.artifacts import Manifest, read_digest

CHUNK = 1 << 20
RECENT = 3600.0  # seconds: an entry's last use is known to that, and a blob younger than that may belong to a run
ROOMY = 0.9  # of the limit, to which an overfull cache is pruned


@dataclass(frozen=True)
class Source:
    """What a result was made from.

    :param step: "onnx:convert"
    :param key: the manifest's
    :param above: why what it is made from was not run, where it was not
    """

    step: str
    key: dict[str, Any]
    above: str = ""


@dataclass(frozen=True)
class Entry:
    """What a step made."""

    address: str
    manifest: Manifest


def address(source: Source) -> str:
    """Name of a result: sha256 of what it was made from, and of the kind of machine, as the locks are made for one."""
    return hashlib.sha256(_text(_described(source)).encode()).hexdigest()


def _described(source: Source) -> dict[str, Any]:
    return {**dataclasses.asdict(source), "machine": f"{platform.system()} {platform.machine()}"}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def read(text: str, wanted: str) -> tuple[dict[str, Any], Manifest] | None:
    """What an entry says; None where it is damaged, or not the one of that address.

    :param text: of the file
    """
    digest, _, body = text.partition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        return None
    try:
        told = json.loads(body)
        source, made = told["source"], told["made"]
        manifest = Manifest(source["key"], made["files"], made["status"], made["reason"], made["versions"])
        names = {PurePosixPath(name) for name in manifest.files}
    except (ValueError, KeyError, TypeError):
        return None
    outside = any(name.is_absolute() or ".." in name.parts for name in names)
    fits = hashlib.sha256(_text(source).encode()).hexdigest() == wanted
    return None if outside or not fits else (source, manifest)


class Local:
    """The folder.

    :param root: is made when something is kept
    :param most: bytes
    """

    def __init__(self, root: Path, most: float) -> None:
        self.root, self.most = root, most

    def place(self, kind: str, name: str) -> Path:
        """Where an entry or a blob is, or would be.

        :param kind: "entries" or "blobs"
        """
        return self.root / kind / name[:2] / name

    def find(self, wanted: str) -> Entry | None:
        """The result of that address; what is damaged is dropped."""
        path = self.place("entries", wanted)
        try:
            text = path.read_text(encoding="utf-8")
            if time.time() - path.stat().st_mtime > RECENT:
                os.utime(path)
        except (OSError, ValueError):
            text = ""
        found = read(text, wanted) if text else None
        if found is None:
            self._drop(path)
            return None
        return Entry(wanted, found[1])

    def copy(self, entry: Entry, target: Path) -> bool:
        """Copy a result's files into a folder; False where one lacks or is damaged, and then the entry is dropped.

        :raises OSError: the folder cannot be written
        """
        for name, digest in entry.manifest.files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not _copied(self.place("blobs", digest), path, digest):
                self._drop(self.place("blobs", digest))
                self._drop(self.place("entries", entry.address))
                return False
        return True

    def add(self, source: Source, made: Manifest, folder: Path) -> None:
        """Keep what a step made, blobs first.

        :raises OSError: it cannot be written; nothing half written stays
        """
        for name, digest in made.files.items():
            with self.beside(self.place("blobs", digest)) as beside:
                if beside and not _copied(folder / name, beside, digest):
                    return  # it was changed meanwhile: the next run notices
        told = {"files": made.files, "status": made.status, "reason": made.reason, "versions": made.versions}
        body = _text({"source": _described(source), "made": told})
        place = self.place("entries", address(source))
        self._drop(place)
        with self.beside(place) as beside:
            if beside:
                beside.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}", encoding="utf-8")

    @contextlib.contextmanager
    def beside(self, place: Path) -> Iterator[Path | None]:
        """A path to write, which is then moved to its place; None where that is taken."""
        if place.exists():
            yield None
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{uuid.uuid4().hex}")
        try:
            yield beside
            if beside.exists():
                beside.replace(place)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)

    @staticmethod
    def _drop(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def size(self) -> tuple[int, int]:
        """Number of entries, and bytes of the blobs."""
        entries = sum(1 for _ in self._listed("entries"))
        return entries, sum(size for _, _, size in self._listed("blobs"))

    def check(self) -> tuple[int, int]:
        """Hold every file to its digest: how many were dropped, entries and blobs."""
        entries = [path for path, _, _ in self._listed("entries") if self.find(path.name) is None]
        blobs = [path for path, _, _ in self._listed("blobs") if read_digest(path) != path.name]
        for path in blobs:
            self._drop(path)
        return len(entries), len(blobs)

    def _listed(self, kind: str) -> Iterator[tuple[Path, float, int]]:
        """Path, time of last use and bytes of each file."""
        for path in (self.root / kind).glob("*/*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                yield path, stat.st_mtime, stat.st_size

    def prune(self) -> int:
        """Where it is larger than it may be, drop what was not used for longest; what other runs write stays.

        :return: how many entries went
        """
        blobs = {path.name: (path, when, size) for path, when, size in self._listed("blobs")}
        held = sum(size for _, _, size in blobs.values())
        if held <= self.most:
            return 0
        used: set[str] = set()
        entries = sorted(self._listed("entries"), key=lambda found: found[1], reverse=True)
        total = going = 0
        for path, _, _ in entries:
            stored = self._files(path)
            total += sum(blobs[digest][2] for digest in stored - used if digest in blobs)
            if total > ROOMY * self.most:  # and so is every one that was used before it
                self._drop(path)
                going += 1
            else:
                used |= stored
        for name, (path, when, _) in blobs.items():
            if name not in used and time.time() - when > RECENT:
                self._drop(path)
        return going

    def _files(self, path: Path) -> set[str]:
        """Digests of the files of an entry."""
        try:
            found = read(path.read_text(encoding="utf-8"), path.name)
        except (OSError, ValueError):
            found = None
        return set(found[1].files.values()) if found else set()


def _copied(source: Path, target: Path, digest: str) -> bool:
    """Copy a file, and say whether it has that digest; False too where there is none."""
    hashed = hashlib.sha256()
    try:
        read = source.open("rb")
    except OSError:
        return False
    with read, target.open("wb") as write:
        while chunk := read.read(CHUNK):
            hashed.update(chunk)
            write.write(chunk)
    if hashed.hexdigest() == digest:
        shutil.copymode(source, target)
        return True
    target.unlink()
    return False

"""Where artifacts live, and the manifests that make them true.

A folder is written beside its place and moved there whole, manifest inside: ``manifest.json`` holds what the
folder was made from (``key``) and the sha256 of every file. It is up to date when both still hold; nothing else
is believed, neither times nor doit's database.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import errors, stored

MANIFEST = "manifest.json"
LOCK = ".lock"
STAGING = ".staging"

_digests: dict[tuple[str, int, int, int, int], str] = {}


def digest(path: Path) -> str:
    """sha256 of a file; read once per process for as long as its inode, size and times stay."""
    held = path.stat()
    if not stat.S_ISREG(held.st_mode):  # a pipe would never end
        raise OSError(errno.EINVAL, "it is no file", str(path))
    key = (str(path), held.st_ino, held.st_size, held.st_mtime_ns, held.st_ctime_ns)
    if key not in _digests:
        _digests[key] = read_digest(path)
    return _digests[key]


def read_digest(path: Path) -> str:
    """sha256 of a file, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path, below: tuple[str, ...] = ()) -> dict[str, str]:
    """sha256 by relative path of every file of an artifact.

    :param below: names of subfolders that are artifacts of their own
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in below and str(relative) != MANIFEST:
            found[relative.as_posix()] = digest(path)
    return found


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says.

    :param key: what the folder was made from: input digests, settings, toolchain, code
    :param files: sha256 by relative path
    :param status: "built" or "not_run"
    :param reason: why it was not run
    :param versions: of the tools
    """

    key: dict[str, Any]
    files: dict[str, str]
    status: str = "built"
    reason: str = ""
    versions: dict[str, str] | None = None


_manifests: dict[str, tuple[tuple[int, int, int], Manifest]] = {}  # that were read, and of which file


def manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none, or none that can be read."""
    path = f"{folder}/{MANIFEST}"
    try:
        held = os.stat(path)  # noqa: PTH116 (asked ten thousand times in a run: pathlib takes as long as the rest)
        seen = (held.st_ino, held.st_mtime_ns, held.st_size)
        if path not in _manifests or _manifests[path][0] != seen:
            _manifests[path] = (seen, _checked(Manifest(**stored.opened(Path(path)))))
        return _manifests[path][1]
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _checked(told: Manifest) -> Manifest:
    """:raises ValueError: it is none that :func:`commit` wrote: of other types, or with names outside of its folder"""
    texts = [told.status, told.reason, *_items(told.files), *_items(told.versions or {})]
    names = [PurePosixPath(name) for name in told.files]
    outside = any(name.is_absolute() or ".." in name.parts or "\0" in str(name) for name in names)
    if outside or not isinstance(told.key, dict) or not all(isinstance(text, str) for text in texts):
        raise ValueError("it is no manifest")
    return told


def _items(mapping: Mapping[str, str]) -> Iterator[str]:
    for pair in mapping.items():
        yield from pair


def fresh(folder: Path, key: dict[str, Any]) -> bool:
    """Whether a folder was made from ``key`` and every file in it is as it was made."""
    found = manifest(folder)
    return found is not None and found.key == json.loads(json.dumps(key)) and _whole(folder, found)


def altered(folder: Path) -> str:
    """The first file of a folder that is not as it was made; "" where all are."""
    found = manifest(folder)
    names = found.files if found else {}
    return next((name for name in names if not _whole(folder, Manifest({}, {name: names[name]}))), "")


def _whole(folder: Path, told: Manifest) -> bool:
    try:
        return all(digest(folder / name) == wanted for name, wanted in told.files.items())
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def staging(root: Path) -> Iterator[Path]:
    """An empty folder inside the artifacts folder ``root``, removed at the end whatever happens."""
    place = root / STAGING / uuid.uuid4().hex[:12]
    with writing(place):
        place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def commit(made: Path, folder: Path, entry: Manifest, lasting: bool = True) -> None:
    """Move a staged folder into its place. If its files are what is there already, only the manifest is new,
    so that what was made from them stays.

    :param lasting: wait until the disk has it: not for what a cache can give again
    """
    text = stored.sealed(entry.__dict__)
    with writing(folder):
        there = manifest(folder)
        same = there and there.status == entry.status == "built" and there.files == entry.files
        if there and same and not folder.is_symlink() and _whole(folder, there):
            beside = made / MANIFEST
            beside.write_text(text, encoding="utf-8")
            beside.replace(folder / MANIFEST)
            return
        (made / MANIFEST).write_text(text, encoding="utf-8")
        if lasting:
            _sync(made)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or folder.exists():
            old = made.with_name(made.name + "-old")
            folder.rename(old)
            made.rename(folder)
            remove(old)
        else:
            made.rename(folder)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Whatever is in a place that is ours: a folder whole, of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a file beside its place and move it there."""
    with writing(path):
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            beside.write_text(text, encoding="utf-8")
            if path.is_dir():
                remove(path)
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals to write into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path if path.exists() else Path("/")).free
            raise errors.DiskFull("the disk is full", file=path, found=f"{free / 1e6:.1f} MB free") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            reason = os.strerror(error.errno).lower()
            raise errors.ArtifactsNotWritable(f"cannot write there ({reason})", file=path) from None
        raise


@contextlib.contextmanager
def lock(root: Path) -> Iterator[None]:
    """Hold the artifacts folder for this run, and clear what killed runs left in it.

    :raises errors.ArtifactsBusy: another run holds it
    """
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        if (root / LOCK).is_symlink() or not (root / LOCK).is_file():
            remove(root / LOCK)
        file = (root / LOCK).open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise errors.ArtifactsBusy(f"another run ({file.read().strip() or 'unknown'}) holds {root}") from None
        file.truncate(0)
        file.write(f"pid {os.getpid()}, since {time.strftime('%H:%M')}")
        file.flush()
        remove(root / STAGING)
        yield


def arrays(path: Path) -> dict[str, Any]:
    """The arrays of a ``.npz`` by name."""
    import numpy as np

    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}

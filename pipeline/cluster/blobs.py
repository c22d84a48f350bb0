"""Files as blobs, named by their sha256, wherever fsspec can write: ``URL/ab/abcd…``.

A blob that is there is not sent again, and what arrives is held to its name. A folder travels as a tree: its name and
the digest of each file by relative path.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline import artifacts, errors

BUCKETS = ("s3", "gs", "az", "abfs")  # these have no folders, and to make one would make the bucket that a typo names
Tree = dict[str, Any]  # "name"; and "files", or "file", or neither where there is nothing


class Lacking(Exception):
    """Blobs that are not there, or are not what their names say."""

    def __init__(self, digests: Iterable[str]) -> None:
        self.digests = sorted(digests)
        super().__init__(f"{len(self.digests)} blobs lack or are damaged")


def describe(path: Path, without: Path | None = None) -> tuple[Tree, dict[str, Path]]:
    """The tree of a file or folder, and the files by digest. An artifact has the files that its manifest names.

    :param without: a folder that does not come along
    """
    if path.is_file():
        digest = artifacts.digest(path)
        return {"name": path.name, "file": digest}, {digest: path}
    if not path.is_dir():
        return {"name": path.name}, {}
    stored = artifacts.manifest(path)
    found = [path / name for name in (*stored.files, artifacts.MANIFEST)] if stored else _below(path, without)
    digests = {file: artifacts.digest(file) for file in found}
    files = {file.relative_to(path).as_posix(): digest for file, digest in digests.items()}
    return {"name": path.name, "files": files}, {digest: file for file, digest in digests.items()}


def _below(folder: Path, without: Path | None) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and not (without and path.is_relative_to(without)):
            found.append(path)
    return found


def send(url: str, files: dict[str, Path]) -> None:
    """Upload the files, by digest, that are not there yet."""
    put(url, {_name(digest): path for digest, path in files.items()})


def put(url: str, files: dict[str, Path], again: bool = False) -> None:
    """Upload files to their places below the URL.

    :param again: also where there is one
    """
    system, root = _store(url)
    with _telling(url):
        for name, path in files.items():
            place = f"{root}/{name}"
            if again or not system.exists(place):
                if url.partition("://")[0] not in BUCKETS:
                    system.makedirs(place.rpartition("/")[0], exist_ok=True)
                with path.open("rb") as source, system.open(place, "wb", autocommit=False) as target:
                    shutil.copyfileobj(source, target)
                target.commit()


def fetch(url: str, trees: Iterable[Tree], root: Path) -> list[Path]:
    """Download files and folders, under their own names, each into a folder of its own: ``root/NUMBER/NAME``.

    :raises Lacking: some blobs are not there, or are not what their names say
    """
    places = []
    lacking: set[str] = set()
    for number, tree in enumerate(trees):
        place = root / str(number) / tree["name"]
        place.parent.mkdir(parents=True)
        if "files" in tree:
            place.mkdir()
        wanted = {place / _below_it(name): digest for name, digest in tree.get("files", {}).items()}
        wanted |= {place: tree["file"]} if "file" in tree else {}
        lacking |= {digest for path, digest in wanted.items() if not _arrived(url, digest, path)}
        places.append(place)
    if lacking:
        raise Lacking(lacking)
    return places


def _below_it(name: str) -> PurePosixPath:
    """A relative path that does not lead out of its folder: trees come from other machines."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise errors.BlobsUnfit("a tree names a file outside of its folder", found=name)
    return path


def _arrived(url: str, digest: str, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not got(url, _name(digest), path):
        return False
    return artifacts.read_digest(path) == digest


def got(url: str, name: str, path: Path) -> bool:
    """Download a file from its place below the URL; False where there is none."""
    system, root = _store(url)
    with _telling(url):
        try:
            with system.open(f"{root}/{name}", "rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        except FileNotFoundError:
            return False
    return True


def drop(url: str, digests: Iterable[str]) -> None:
    """Remove blobs that are not what their names say, so that they are sent again."""
    remove(url, (_name(digest) for digest in digests))


def remove(url: str, names: Iterable[str]) -> None:
    """Remove files from their places below the URL, as far as they are there."""
    system, root = _store(url)
    for name in names:
        with _telling(url), contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{root}/{name}")


def _store(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    with _telling(url):
        system, root = url_to_fs(url)
    return system, root.rstrip("/")


def _name(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


@contextlib.contextmanager
def _telling(url: str) -> Any:
    """Whatever a store raises, told as ours: each of fsspec's file systems has errors of its own."""
    try:
        yield
    except (errors.SlipwayError, FileNotFoundError):
        raise
    except Exception as error:
        raise errors.BlobsUnfit(f"{type(error).__name__}: {error}"[:300], found=url) from error

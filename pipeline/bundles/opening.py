"""Reading a bundle that nobody vouches for: in one pass, within limits, and writing only where it was told to.

A bundle has one form (:mod:`pipeline.bundles.archive`), so whatever has another is refused: there is no link, device or
extended header to be careful with, as none is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline import errors
from pipeline.bundles import archive, refusals

MAGIC = b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 10  # compressed bytes at a time: the densest of them become 32 MiB
KINDS = {"1": "a hard link", "2": "a symbolic link", "3": "a device", "4": "a device", "5": "a folder", "6": "a pipe"}


@dataclass(frozen=True)
class Limits:
    """What a bundle may take.

    :param members: files
    :param member: bytes of one file
    :param total: bytes of all, as the archive says before anything is read
    :param ratio: bytes of all to bytes of the archive, from ``dense`` bytes on
    """

    members: int = 2_000
    member: int = 1 << 30
    total: int = 4 << 30
    ratio: int = 200
    dense: int = 16 << 20


@dataclass(frozen=True)
class Opened:
    """A bundle that was unpacked.

    :param name: of its one folder
    :param folder: where that is
    :param files: sha256 by name, relative to it
    :param epoch: the time of every member
    """

    name: str
    folder: Path
    files: dict[str, str]
    epoch: int


def unpack(path: Path, target: Path, limits: Limits | None = None) -> Opened:
    """Unpack a bundle into the empty folder ``target``.

    :raises refusals.BundleUnreadable: it is no bundle, or is cut off or damaged
    :raises refusals.BundleUnsafe: it would write elsewhere, or take too much
    """
    limits = limits or Limits()
    try:
        with path.open("rb") as file:
            stream = _Stream(file, path.stat().st_size, limits)
            found = dict(_members(stream, target, limits))
            stream.end()
    except errors.SlipwayError as error:
        raise error.at(file=path) from None
    except OSError as error:
        what = f"it cannot be read ({(error.strerror or type(error).__name__).lower()})"
        raise refusals.BundleUnreadable(what, file=error.filename or path) from None
    if not found:
        raise refusals.BundleUnreadable("it holds no file", file=path)
    roots = {name.partition("/")[0] for name in found}
    if len(roots) != 1 or any("/" not in name for name in found):
        raise refusals.BundleUnfit("not everything is in one folder", file=path, found=", ".join(sorted(roots)[:3]))
    (root,) = roots
    files = {name.partition("/")[2]: digest for name, digest in found.items()}
    return Opened(root, target / root, files, stream.epoch)


class _Stream:
    """What a zstd frame holds, so many bytes at a time."""

    def __init__(self, file: IO[bytes], size: int, limits: Limits) -> None:
        import zstandard

        self.failures: tuple[type[Exception], ...] = (zstandard.ZstdError, MemoryError)
        self.file, self.limits, self.epoch = file, limits, -1
        self.held, self.read = b"", 0
        head = file.read(18)
        if head[:4] != MAGIC:
            raise refusals.BundleUnreadable("it is no bundle: it does not begin as a .tar.zst does")
        try:
            told = zstandard.get_frame_parameters(head)
        except self.failures as error:
            raise refusals.BundleUnreadable(f"it is damaged: {error}") from None
        self.total = told.content_size
        if not told.has_checksum or told.dict_id or self.total in (0, zstandard.CONTENTSIZE_UNKNOWN):
            raise refusals.BundleUnreadable("it is not compressed as a bundle is: it tells no size, or has no checksum")
        if self.total > limits.total or told.window_size > 1 << archive.WINDOW_LOG:
            raise refusals.BundleUnsafe("it is too large", expected=f"at most {limits.total:,} bytes", found=self.total)
        if self.total > max(limits.dense, limits.ratio * size):
            dense = f"{self.total:,} bytes out of {size:,}"
            raise refusals.BundleUnsafe("it is too dense", expected=f"at most {limits.ratio} to 1", found=dense)
        self.frame: Any = zstandard.ZstdDecompressor(max_window_size=1 << archive.WINDOW_LOG).decompressobj()
        file.seek(0)

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes.

        :raises refusals.BundleUnreadable: there are not so many, or they are damaged
        """
        parts = [self.held]
        length = len(self.held)
        while length < count:
            chunk = b"" if self.frame.eof else self.file.read(CHUNK)
            if not chunk:
                raise refusals.BundleUnreadable(
                    "it is cut off", expected=f"{self.total:,} bytes", found=self.read + length
                )
            parts.append(self._decompressed(chunk))
            length += len(parts[-1])
        joined = b"".join(parts)
        self.held = joined[count:]
        self.read += count
        return joined[:count]

    def _decompressed(self, chunk: bytes) -> bytes:
        try:
            found: bytes = self.frame.decompress(chunk)
        except self.failures as error:
            raise refusals.BundleUnreadable(f"it is damaged: {error}") from None
        return found

    def end(self) -> None:
        """Hold what follows the last member to what ends a bundle.

        :raises refusals.BundleUnreadable: it is something else
        """
        rest = self.take(self.total - self.read) if self.total - self.read <= archive.RECORD else b"?"
        while not self.frame.eof and (chunk := self.file.read(CHUNK)):
            self.held += self._decompressed(chunk)
        if not self.frame.eof:
            raise refusals.BundleUnreadable("it is cut off before its checksum")
        if rest.strip(b"\0") or self.total % archive.RECORD or self.held:
            raise refusals.BundleUnreadable("something follows the last member")
        if self.frame.unused_data or self.file.read(1):
            raise refusals.BundleUnreadable("something follows the archive's end")


def _members(stream: _Stream, target: Path, limits: Limits) -> Iterator[tuple[str, str]]:
    """Name and sha256 of every member, each written below ``target`` as soon as its name is found fit."""
    met: dict[str, str] = {}
    last = ""
    while True:
        head = stream.take(archive.BLOCK)
        if head == bytes(archive.BLOCK):
            return
        name, size = _told(head, stream)
        _check_name(name, last, met)
        if len(met) > limits.members:
            raise refusals.BundleUnsafe("it has too many members", expected=f"at most {limits.members:,}")
        if size > limits.member:
            what = f"the member {name} is too large"
            raise refusals.BundleUnsafe(what, expected=f"at most {limits.member:,} bytes", found=f"{size:,}")
        if size > stream.total - stream.read:
            raise refusals.BundleUnreadable(f"it is cut off in {name}", expected=f"{size:,} bytes")
        yield name, _written(stream, target / name, size)
        last = name


def _told(head: bytes, stream: _Stream) -> tuple[str, int]:
    """Name and size in a header, which must be the one that this name and size have."""
    prefix, own = (_text(head[start:end]) for start, end in ((345, 500), (0, 100)))
    name = f"{prefix}/{own}" if prefix else own
    kind = chr(head[156])
    if kind in KINDS:
        raise refusals.BundleUnsafe(f"the member {name} is {KINDS[kind]}", expected="plain files only")
    _check_path(name)
    try:
        size, epoch = int(head[124:135], 8), int(head[136:147], 8)
        stream.epoch = epoch if stream.epoch < 0 else stream.epoch
        wanted = archive.header(name, size, stream.epoch)
    except ValueError:
        wanted = b""
    if head != wanted:
        raise refusals.BundleUnreadable(f"the header of {name or 'a member'} is not as Slipway writes it")
    return name, size


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("ascii", "backslashreplace")


def _check_path(name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or name[1:2] == ":":
        raise refusals.BundleUnsafe(f"the member {name} climbs out of its folder")
    if not archive.fit(name):
        raise refusals.BundleUnsafe(f"the member {name!r} has an unfit name", expected="letters, digits and _ . + -")


def _check_name(name: str, last: str, met: dict[str, str]) -> None:
    """Names come sorted, so none twice; and none meets another where case is ignored, or goes through a file."""
    if name <= last:
        what = f"the member {name} is there twice" if name == last else f"the member {name} is not in its place"
        raise refusals.BundleUnfit(what, expected="members in the order of their names")
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        before = met.get(path.casefold(), path + "/")
        if before != path + "/":
            raise refusals.BundleUnsafe(f"the members {before.rstrip('/')} and {path} would be one file")
        met[path.casefold()] = path + "/" if count < len(parts) else path


def _written(stream: _Stream, path: Path, size: int) -> str:
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for start in range(0, size, 1 << 20):
            chunk = stream.take(min(1 << 20, size - start))
            digest.update(chunk)
            file.write(chunk)
    stream.take(-size % archive.BLOCK)
    return digest.hexdigest()

"""A zip unpacked into memory, within limits: archives come from strangers."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Collection

from pipeline import errors

MAX_MEMBERS = 64
MAX_TENSOR_MEMBERS = 4096
MAX_ENTRIES = 1 << 16
MAX_UNPACKED = 1 << 30
CHUNK = 1 << 24
MAX_RATIO = 200


def members(content: bytes, name: str, most: int, wanted: Collection[str] | None = None) -> dict[str, bytes]:
    """Members of a zip, within limits. The checksum of every member is checked.

    :param most: members that it may have
    :param wanted: members to return, where they are there; None is all of them
    :raises SlipwayError: :class:`errors.AgentFileDamaged` or :class:`errors.NotAnAgent`
    """
    if not content:
        raise errors.AgentFileDamaged(f"{name} is empty (0 bytes)")
    if not content.startswith(b"PK"):
        start = content[:20].decode("ascii", "replace").split("\n")[0]
        raise errors.NotAnAgent(f"{name} is not a zip (it starts with {start!r})", remedy="Fetch the real file")
    if content.count(b"PK\x01\x02") > MAX_ENTRIES:  # zipfile makes an object of every entry before any is counted
        raise errors.NotAnAgent(f"{name} has more than {MAX_ENTRIES:,} members; the limit is {most}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if infos and min(info.header_offset for info in infos) > 0:
                # The directory found is that of an archive inside: the outer one's own is cut off.
                raise zipfile.BadZipFile
            _check_members(infos, name, most)
            found = {}
            for info in infos:
                kept = wanted is None or info.filename in wanted
                held = _member(archive, info, name, kept)
                if kept and not info.is_dir():
                    found[info.filename] = held
            return found
    except zipfile.BadZipFile:
        raise errors.AgentFileDamaged(f"{name} is cut short: no zip directory at its end") from None
    except (OSError, NotImplementedError, EOFError, ValueError) as error:
        raise errors.AgentFileDamaged(f"{name} cannot be unpacked ({error})") from None


def _check_members(infos: list[zipfile.ZipInfo], name: str, most: int) -> None:
    if len(infos) > most:
        raise errors.NotAnAgent(f"{name} has {len(infos)} members; the limit is {most}")
    seen: set[str] = set()
    for info in infos:
        member = info.filename
        if member in seen:
            raise errors.NotAnAgent(f"{name} has two members named {member}")
        seen.add(member)
        if member.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", member) or ":" in member:
            raise errors.NotAnAgent(f"member name {member!r} leaves the archive; refused")
        if info.flag_bits & 1:
            raise errors.NotAnAgent(f"{name} is password protected; not supported")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise errors.NotAnAgent(f"member {member} is compressed in a way that Stable-Baselines3 does not use")
        if info.file_size > MAX_UNPACKED:
            raise errors.NotAnAgent(f"member {member} unpacks to {info.file_size:,} bytes; the limit is 1 GiB")
        if info.file_size > MAX_RATIO * max(info.compress_size, 1) and info.file_size > 1 << 20:
            sizes = f"{info.file_size:,} bytes from {info.compress_size:,}"
            raise errors.NotAnAgent(f"member {member} unpacks to {sizes}; the limit is a ratio of {MAX_RATIO}")
    if sum(info.file_size for info in infos) > MAX_UNPACKED:
        raise errors.NotAnAgent(f"{name} unpacks to more than 1 GiB")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, kept: bool) -> bytes:
    """Its content, not a byte more than the directory claims; b"" where it is only held to its checksum."""
    chunks, left = [], info.file_size
    try:
        with archive.open(info) as file:
            while left >= 0 and (chunk := file.read(min(CHUNK, left + 1))):
                left -= len(chunk)
                if kept:
                    chunks.append(chunk)
        if left:
            raise zipfile.BadZipFile
        return b"".join(chunks)
    except (zipfile.BadZipFile, zlib.error):
        raise errors.AgentFileDamaged(f"member {info.filename} of {name} is damaged (checksum mismatch)") from None

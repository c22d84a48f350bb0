"""The format of a bundle: a tar of plain files in one zstd frame, in the one way that is the same bytes everywhere.

Members are sorted, belong to user and group 0, have mode 0644 and one time; there are no folders, links or extensions.
Each header can be computed from name, size and time, so that a reader can hold an archive to it byte by byte.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

BLOCK = 512
RECORD = 20 * BLOCK  # what tar pads its end to
END = bytes(2 * BLOCK)
LEVEL = 9
WINDOW_LOG = 27  # the largest that zstd opens unasked: the same weights are in most artifacts, far from each other
LONGEST_NAME, LONGEST_PREFIX = 100, 155
LARGEST = 8**11 - 1  # bytes of a member: eleven octal digits
EPOCH = 315_532_800  # 1980-01-01, the first day of a zip archive, where SOURCE_DATE_EPOCH says nothing

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")

Content = bytes | Path


def fit(name: str) -> bool:
    """Whether a member may have this name: relative, plain, and short enough for a header."""
    return bool(_NAME.fullmatch(name)) and _split(name) is not None


def _split(name: str) -> tuple[str, str] | None:
    """Prefix and name as a header has them; None where neither way is short enough."""
    if len(name) <= LONGEST_NAME:
        return "", name
    cut = name.rfind("/", 0, LONGEST_PREFIX + 1)
    return (name[:cut], name[cut + 1 :]) if cut > 0 and len(name) - cut - 1 <= LONGEST_NAME else None


def header(name: str, size: int, epoch: int) -> bytes:
    """A member's header (POSIX ustar).

    :raises ValueError: name, size or time do not go into one
    """
    parts = _split(name) if fit(name) else None
    if parts is None or not 0 <= size <= LARGEST or not 0 <= epoch <= LARGEST:
        raise ValueError(f"no header holds {name!r} of {size} bytes at {epoch}")
    fields = [
        parts[1].encode("ascii").ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % epoch,
        b" " * 8,  # the checksum, of a header that has blanks here
        b"0" + bytes(100) + b"ustar\x0000" + b"root".ljust(32, b"\0") * 2 + bytes(16),
        parts[0].encode("ascii").ljust(155, b"\0") + bytes(12),
    ]
    fields[2] = b"%06o\0 " % sum(b"".join(fields))
    return b"".join(fields)


def write(path: Path, members: Mapping[str, Content], epoch: int) -> None:
    """Write a bundle; the bytes depend on nothing but the arguments and zstandard's version.

    :param members: content, or the file that holds it, by name
    :param epoch: time of every member, in seconds since 1970
    """
    import zstandard

    sizes = {name: _size(content) for name, content in members.items()}
    used = sum(BLOCK + size + -size % BLOCK for size in sizes.values()) + len(END)
    total = used + -used % RECORD
    chosen = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=total, window_log=min(WINDOW_LOG, max(total.bit_length(), 17)), enable_ldm=True,
        write_checksum=True, write_content_size=True,
    )  # fmt: skip
    compressor = zstandard.ZstdCompressor(compression_params=chosen)
    with path.open("wb") as file, compressor.stream_writer(file, size=total, closefd=False) as out:
        for name in sorted(members):
            out.write(header(name, sizes[name], epoch))
            for chunk in _chunks(members[name]):
                out.write(chunk)
            out.write(bytes(-sizes[name] % BLOCK))
        out.write(END + bytes(total - used))


def _size(content: Content) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _chunks(content: Content) -> Iterator[bytes]:
    source: IO[Any] = content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
    with source:
        while chunk := source.read(1 << 20):
            yield chunk

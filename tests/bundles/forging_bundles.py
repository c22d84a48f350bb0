"""Bundles that are not as Slipway packs them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import zstandard

from pipeline.bundles import archive, opening, packing, statement

Members = dict[str, bytes]


def members(bundle: Path) -> Members:
    """What a bundle holds, by name in its folder."""
    with tempfile.TemporaryDirectory() as folder:
        opened = opening.unpack(bundle, Path(folder))
        return {name: (opened.folder / name).read_bytes() for name in opened.files}


def packed(path: Path, held: Mapping[str, bytes], root: str) -> Path:
    """A bundle of these members, in the form that all bundles have."""
    archive.write(path, {f"{root}/{name}": content for name, content in held.items()}, archive.EPOCH)
    return path


def consistent(held: Members) -> Members:
    """The same with statement and list made to agree, as whoever changes a bundle with care would."""
    found = {name: content for name, content in held.items() if name not in (packing.SUMS, statement.FILE)}
    stated = json.loads(held[statement.FILE])
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    stated["subject"] = [{"name": name, "digest": {"sha256": digest}} for name, digest in sums.items()]
    found[statement.FILE] = json.dumps(stated).encode()
    sums[statement.FILE] = hashlib.sha256(found[statement.FILE]).hexdigest()
    found[packing.SUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    return found


def edited(held: Members, name: str, change: Callable[[dict], object]) -> Members:
    """With one JSON member changed."""
    told = json.loads(held[name])
    change(told)
    return {**held, name: json.dumps(told).encode()}


def compressed(content: bytes) -> bytes:
    """In a frame as a bundle has it."""
    chosen = zstandard.ZstdCompressionParameters.from_level(3, write_checksum=True, write_content_size=True)
    return zstandard.ZstdCompressor(compression_params=chosen).compress(content)


def of_tar(path: Path, *entries: tuple[str, str, bytes]) -> Path:
    """A compressed tar of entries: name, tarfile's type (or "" for a plain file), content or link's target."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.mtime = archive.EPOCH
            if kind:
                entry.type = getattr(tarfile, kind)
                entry.linkname = content.decode()
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    path.write_bytes(compressed(held.getvalue()))
    return path


def of_headers(path: Path, *entries: tuple[str, bytes]) -> Path:
    """A compressed tar whose headers are as a bundle has them but for the name, which may be anything."""
    parts = []
    for name, content in entries:
        head = bytearray(archive.header("x", len(content), archive.EPOCH))
        head[:100] = name.encode().ljust(100, b"\0")
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        parts.append(bytes(head) + content + bytes(-len(content) % archive.BLOCK))
    text = b"".join(parts) + archive.END
    path.write_bytes(compressed(text + bytes(-len(text) % archive.RECORD)))
    return path

"""A stranger's bundle is read within limits, in one form only, and nothing is written outside of its folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import zstandard
from forging_bundles import compressed, of_headers, of_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import errors
from pipeline.bundles import archive, opening, refusals
from pipeline.bundles.opening import Limits

MEMBERS = {"a/b.txt": b"one", "a/c/d.bin": bytes(range(256)) * 5, "a/e": b""}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.tar.zst"
    archive.write(path, MEMBERS, archive.EPOCH)
    return path


def refused(path: Path, kind: type[errors.SlipwayError] = refusals.BundleUnsafe, limits: Limits | None = None) -> str:
    """Why a bundle is refused; nothing is written beside the folder that it may write to."""
    target = path.parent / "target"
    target.mkdir()
    before = sorted(path.parent.iterdir())
    with pytest.raises(kind) as caught:
        opening.unpack(path, target, limits)
    assert sorted(path.parent.iterdir()) == before
    assert caught.value.file == str(path)
    return str(caught.value)


def test_what_was_packed_comes_out(small: Path, tmp_path: Path) -> None:
    opened = opening.unpack(small, tmp_path / "there")
    assert (opened.name, opened.epoch) == ("a", archive.EPOCH)
    assert {f"a/{name}": (opened.folder / name).read_bytes() for name in opened.files} == MEMBERS


def test_tar_reads_it_too(small: Path) -> None:
    content = zstandard.ZstdDecompressor().decompress(small.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        told = [(m.name, m.mode, m.uid, m.gid, m.uname, m.mtime) for m in tar]
        assert told == [(name, 0o644, 0, 0, "root", archive.EPOCH) for name in sorted(MEMBERS)]
        assert all(tar.extractfile(name).read() == content for name, content in MEMBERS.items())


def test_header_is_the_one_of_pythons_tarfile() -> None:
    entry = tarfile.TarInfo("a/" + "b" * 120 + "/c")
    entry.size, entry.mtime, entry.uname, entry.gname = 12345, archive.EPOCH, "root", "root"
    ours, theirs = archive.header(entry.name, entry.size, archive.EPOCH), entry.tobuf(tarfile.USTAR_FORMAT)
    assert (
        tarfile.TarInfo.frombuf(ours, "ascii", "strict").get_info()
        == tarfile.TarInfo.frombuf(theirs, "ascii", "strict").get_info()
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../out", "climbs out of its folder"),
        ("a/../../out", "climbs out of its folder"),
        ("/etc/out", "climbs out of its folder"),
        ("a\\..\\out", "climbs out of its folder"),
        ("C:/out", "climbs out of its folder"),
        ("a/./b", "has an unfit name"),
        ("a//b", "has an unfit name"),
        ("a/b\n", "has an unfit name"),
        ("a/.hidden", "has an unfit name"),
        ("a/ü", "has an unfit name"),
        ("", "has an unfit name"),
    ],
)  # fmt: skip
def test_name_is_refused(tmp_path: Path, name: str, why: str) -> None:
    assert why in refused(of_headers(tmp_path / "x.tar.zst", (name, b"content")))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("SYMTYPE", "a symbolic link"),
        ("LNKTYPE", "a hard link"),
        ("CHRTYPE", "a device"),
        ("DIRTYPE", "a folder"),
        ("FIFOTYPE", "a pipe"),
    ],
)
def test_member_that_is_no_plain_file_is_refused(tmp_path: Path, kind: str, what: str) -> None:
    path = of_tar(tmp_path / "x.tar.zst", ("a/link", kind, b"/etc/passwd"), ("a/link/b", "", b"content"))
    assert f"The member a/link{'/' if kind == 'DIRTYPE' else ''} is {what}" in refused(path)


def test_header_that_slipway_does_not_write_is_refused(tmp_path: Path) -> None:
    said = refused(of_tar(tmp_path / "x.tar.zst", ("a/b", "", b"content")), refusals.BundleUnreadable)
    assert "The header of a/b is not as Slipway writes it" in said, "user and group have no names"


@pytest.mark.parametrize(
    ("names", "kind", "why"),
    [
        (("a/b", "a/b"), refusals.BundleUnfit, "is there twice"),
        (("a/c", "a/b"), refusals.BundleUnfit, "is not in its place"),
        (("a/B", "a/b"), refusals.BundleUnsafe, "the members a/B and a/b would be one file"),
        (("a/b", "a/b/c"), refusals.BundleUnsafe, "the members a/b and a/b would be one file"),
        (("A/b", "a/c"), refusals.BundleUnsafe, "the members A and a would be one file"),
        (("a/b", "c/d"), refusals.BundleUnfit, "not everything is in one folder"),
        (("a",), refusals.BundleUnfit, "not everything is in one folder"),
    ],
)  # fmt: skip
def test_names_that_meet_are_refused(tmp_path: Path, names: tuple[str, ...], kind: type, why: str) -> None:
    said = refused(of_headers(tmp_path / "x.tar.zst", *((name, b"content") for name in names)), kind)
    assert why.lower() in said.lower()


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(member=1000), "The member a/c/d.bin is too large. Expected at most 1,000 bytes, found 1,280."),
        (Limits(members=1), "It has too many members. Expected at most 1."),
        (Limits(total=5000), "It is too large. Expected at most 5,000 bytes, found 10240."),
        (Limits(dense=0, ratio=2), "It is too dense. Expected at most 2 to 1"),
    ],
)  # fmt: skip
def test_bundle_that_takes_too_much_is_refused(small: Path, limits: Limits, why: str) -> None:
    assert why in refused(small, limits=limits)


def test_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.zst"
    path.write_bytes(compressed(bytes(40 << 20)))
    assert "too dense" in refused(path)


def test_frame_that_tells_no_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.zst"
    with path.open("wb") as file, zstandard.ZstdCompressor(write_checksum=True).stream_writer(file) as out:
        out.write(bytes(10240))
    assert "tells no size" in refused(path, refusals.BundleUnreadable)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 a zip", opening.MAGIC, opening.MAGIC + b"\xff" * 30])
def test_file_of_another_kind_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tar.zst"
    path.write_bytes(content)
    refused(path, refusals.BundleUnreadable)


def test_cut_bundle_is_refused_wherever_it_is_cut(small: Path, tmp_path: Path) -> None:
    content = small.read_bytes()
    for length in range(0, len(content), 7):
        path = tmp_path / str(length) / "cut.tar.zst"
        path.parent.mkdir()
        path.write_bytes(content[:length])
        refused(path, refusals.BundleUnreadable)


@pytest.mark.parametrize("more", [b"x", opening.MAGIC + b"more", bytes(512)])
def test_bundle_with_something_behind_it_is_refused(small: Path, more: bytes) -> None:
    small.write_bytes(small.read_bytes() + more)
    assert "follows the archive's end" in refused(small, refusals.BundleUnreadable)


def test_member_behind_the_end_is_refused(tmp_path: Path) -> None:
    held = archive.header("a/b", 0, archive.EPOCH) + archive.END + archive.header("a/c", 0, archive.EPOCH)
    path = tmp_path / "x.tar.zst"
    path.write_bytes(compressed(held + bytes(-len(held) % archive.RECORD)))
    assert "follows the last member" in refused(path, refusals.BundleUnreadable)


def test_every_changed_byte_is_noticed(small: Path, tmp_path: Path) -> None:
    """zstd's checksum is over what comes out; the frame's own header is compared with what came."""
    content = small.read_bytes()
    for place in range(len(content)):
        path = tmp_path / f"{place}" / "changed.tar.zst"
        path.parent.mkdir()
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        try:
            opened = opening.unpack(path, path.parent / "target")
        except errors.SlipwayError:
            continue
        found = {f"a/{name}": (opened.folder / name).read_bytes() for name in opened.files}
        assert found == MEMBERS, f"byte {place}: other content was taken for good"


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_whatever_the_bytes_nothing_is_written_outside_and_only_our_errors_are_raised(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Tars of any names, types and sizes; and any bytes in a frame."""
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "x.tar.zst"
    part = st.sampled_from(["a", "b", "..", ".", "", "/", "\\", "CON", "ä", "a" * 90, "\x00", "%"])
    names = st.lists(part, min_size=1, max_size=5).map("/".join)
    entries = data.draw(
        st.lists(
            st.tuples(names, st.sampled_from("\x00012345LKxg"), st.integers(0, 2**40), st.binary(max_size=600)),
            max_size=4,
        )
    )
    held = b""
    for name, kind, size, content in entries:
        head = bytearray(
            archive.header("x", min(size, archive.LARGEST) if data.draw(st.booleans()) else len(content), archive.EPOCH)
        )
        encoded = name.encode()[:100]
        head[:100] = encoded.ljust(100, b"\0")
        head[156] = ord(kind)
        if data.draw(st.booleans()):
            head[345:360] = data.draw(st.binary(min_size=15, max_size=15))
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        held += bytes(head) + content + bytes(-len(content) % 512)
    held += data.draw(st.sampled_from([archive.END, b"", b"\1" * 512]))
    path.write_bytes(
        data.draw(
            st.sampled_from(
                [
                    compressed(held or b"x"),
                    compressed(held + bytes(-len(held) % archive.RECORD) or b"x"),
                    opening.MAGIC + held,
                ]
            )
        )
    )
    (folder / "target").mkdir()
    try:
        opening.unpack(path, folder / "target")
    except errors.SlipwayError as error:
        assert "\n" not in str(error)
    assert sorted(folder.iterdir()) == [folder / "target", path]
    assert all(
        found.resolve().is_relative_to(folder / "target") and not found.is_symlink()
        for found in (folder / "target").rglob("*")
    )

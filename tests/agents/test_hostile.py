"""Hostile archives: nothing in them is executed, nothing is left behind, and no reader is exhausted.

Attacks in the four fields that are read stand in ``test_archive``, those in ``vecnormalize.pkl`` in
``test_statistics``; here is the rest of an archive, what exhausts, and mutations of everything.
"""

from __future__ import annotations

import contextlib
import os
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.agents import archive, pickles, records

from .conftest import Tripwire
from .forging import EXECUTING, EXHAUSTING, kwargs, mapping, old_tensors, short, tensor, zipped_tensors
from .making import Tiny, quickly, repack, serialized, write_zip

MIB = 1 << 20


def packed(content: dict[str, bytes], path: Path) -> bytes:
    """A zip within an archive: deflated, as a forger would."""
    inner = write_zip(path.with_suffix(".inner"), content, compression=zipfile.ZIP_DEFLATED)
    held = inner.read_bytes()
    inner.unlink()
    return held


@contextmanager
def within(mib: float) -> Iterator[None]:
    """What stands inside takes no more memory than this."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mib * MIB
    finally:
        tracemalloc.stop()


# --- code, in every place that holds pickles -------------------------------------------------------


def _in_the_weights(attack: bytes, path: Path) -> dict[str, bytes]:
    return {"policy.pth": packed(zipped_tensors(attack), path)}


def _among_the_weights(attack: bytes, path: Path) -> dict[str, bytes]:
    return {"policy.pth": packed(zipped_tensors(b"\x80\x02}" + short("weight") + attack[:-1] + b"s."), path)}


def _in_old_weights(attack: bytes, path: Path) -> dict[str, bytes]:
    return {"policy.pth": old_tensors(attack)}


def _in_front_of_old_weights(attack: bytes, path: Path) -> dict[str, bytes]:
    return {"policy.pth": old_tensors(attack, place=0)}


def _instead_of_the_weights(attack: bytes, path: Path) -> dict[str, bytes]:
    return {"policy.pth": attack}


WEIGHTS = (
    _in_the_weights,
    _among_the_weights,
    _in_old_weights,
    _in_front_of_old_weights,
    _instead_of_the_weights,
)


def aimed(attack: str, marker: Path) -> bytes:
    return EXECUTING[attack].replace(b"MARKER", str(marker).encode())


@pytest.mark.parametrize("place", WEIGHTS)
@pytest.mark.parametrize("attack", EXECUTING)
def test_code_in_the_weights_is_refused_unexecuted(
    content: dict[str, bytes],
    zip_path: Path,
    tripwire: Tripwire,
    marker: Path,
    attack: str,
    place: Callable[[bytes, Path], dict[str, bytes]],
) -> None:
    write_zip(zip_path, {**content, **place(aimed(attack, marker), zip_path)})
    with tripwire.set(zip_path), pytest.raises(errors.SlipwayError) as refused:
        archive.read(zip_path)
    assert tripwire.events == []
    assert not marker.exists()
    assert isinstance(refused.value, errors.PickleRefused | errors.WeightsUnfit)
    assert list(zip_path.parent.iterdir()) == [zip_path]


@pytest.mark.parametrize("attack", EXECUTING)
def test_code_in_what_is_never_read_stays_unexecuted(
    a_tiny_ppo_agent: Tiny, zip_path: Path, tripwire: Tripwire, marker: Path, attack: str
) -> None:
    forged = aimed(attack, marker)
    unread = {name: forged for name in ("policy.optimizer.pth", "pytorch_variables.pth", "anything.pkl")}
    repack(a_tiny_ppo_agent.zip, zip_path, unread, lr_schedule=serialized(forged), anything=serialized(forged))
    with tripwire.set(zip_path):
        assert archive.read(zip_path).algorithm == "PPO"
    assert tripwire.events == []
    assert not marker.exists()
    assert list(zip_path.parent.iterdir()) == [zip_path]


@pytest.mark.parametrize("attack", EXECUTING)
def test_code_in_one_argument_of_the_policy_is_refused_unexecuted(
    a_tiny_ppo_agent: Tiny, zip_path: Path, tripwire: Tripwire, marker: Path, attack: str
) -> None:
    forged = kwargs("activation_fn", aimed(attack, marker)[:-1])
    repack(a_tiny_ppo_agent.zip, zip_path, policy_kwargs=serialized(forged))
    with tripwire.set(zip_path), pytest.raises(errors.PickleRefused):
        archive.read(zip_path)
    assert tripwire.events == []
    assert not marker.exists()


def test_there_are_attacks_enough() -> None:
    assert len(EXECUTING) >= 52


def test_no_name_reaches_the_terminal_with_its_control_characters(a_tiny_ppo_agent: Tiny, zip_path: Path) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, action_space=serialized(EXECUTING["control characters in a name"]))
    with pytest.raises(errors.PickleRefused) as refused:
        archive.read(zip_path)
    assert "os\\x1b[2J\\n.system\\u202e, which is not on the allowed list" in str(refused.value)
    assert str(refused.value).isprintable()


def test_long_name_is_cut_in_the_message() -> None:
    with pytest.raises(errors.PickleRefused) as refused:
        pickles.read(b"c" + b"a" * 100_000 + b"\nb\n.")
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("version", [b"2.9.2\x1b[2J", b"x" * 5000, b"\xff\xfe", b""])
def test_version_that_is_none_is_unknown(content: dict[str, bytes], zip_path: Path, version: bytes) -> None:
    write_zip(zip_path, {**content, "_stable_baselines3_version": version})
    assert archive.read(zip_path).version == "unknown"


# --- what exhausts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXHAUSTING)
def test_pickle_that_exhausts_is_dealt_with_at_once(name: str, tripwire: Tripwire) -> None:
    with quickly(1), tripwire.set():
        try:
            found = pickles.read(EXHAUSTING[name])
            with pytest.raises(errors.PickleRefused):
                records.space(found)
            with pytest.raises(errors.PickleRefused):
                records.array(found)
        except errors.PickleRefused:
            found = None
        del found
    assert tripwire.events == []


@pytest.mark.parametrize("name", EXHAUSTING)
@pytest.mark.parametrize("field", ["observation_space", "policy_class"])
def test_field_that_exhausts_is_refused_at_once(a_tiny_ppo_agent: Tiny, zip_path: Path, name: str, field: str) -> None:
    repack(a_tiny_ppo_agent.zip, zip_path, **{field: serialized(EXHAUSTING[name])})
    with quickly(1.2), pytest.raises(errors.SlipwayError):
        archive.read(zip_path)


@pytest.mark.parametrize("name", EXHAUSTING)
def test_arguments_that_exhaust_are_read_or_refused_at_once(a_tiny_ppo_agent: Tiny, zip_path: Path, name: str) -> None:
    forged = kwargs("net_arch", EXHAUSTING[name].removeprefix(b"\x80\x04")[:-1])
    repack(a_tiny_ppo_agent.zip, zip_path, policy_kwargs=serialized(forged))
    with quickly(1.2), contextlib.suppress(errors.PickleRefused, errors.NotAnAgent):
        archive.read(zip_path)


@pytest.mark.parametrize("name", EXHAUSTING)
@pytest.mark.parametrize("place", WEIGHTS[:3])
def test_weights_that_exhaust_are_refused_at_once(
    content: dict[str, bytes],
    zip_path: Path,
    name: str,
    place: Callable[[bytes, Path], dict[str, bytes]],
) -> None:
    write_zip(zip_path, {**content, **place(EXHAUSTING[name], zip_path)})
    with quickly(1.2), pytest.raises(errors.SlipwayError):
        archive.read(zip_path)


def _noise(size: int) -> bytes:
    """Bytes that deflate by a ratio of about 100, below the limit."""
    block = os.urandom(MIB // 120)
    return (block + bytes(MIB - len(block))) * (size // MIB)


def test_members_that_are_not_needed_are_not_kept(content: dict[str, bytes], zip_path: Path) -> None:
    write_zip(zip_path, {**content, **{f"x{i}": _noise(64 * MIB) for i in range(4)}}, compression=zipfile.ZIP_DEFLATED)
    with within(60):
        assert archive.read(zip_path).algorithm == "PPO"


def test_data_is_limited_before_it_is_parsed(content: dict[str, bytes], zip_path: Path) -> None:
    text = b'{"a": [' + b"[]," * (6 * MIB) + b"[]]}"
    write_zip(zip_path, {**content, "data": text})
    with within(100), quickly(1), pytest.raises(errors.NotAnAgent, match="Member data has .* the limit is 16 MiB"):
        archive.read(zip_path)


def test_directory_of_a_million_members_within_the_weights_is_not_made(
    content: dict[str, bytes], zip_path: Path
) -> None:
    """Deflated, it takes 200 times less in the archive than its objects take in memory."""
    entry = b"PK\x01\x02" + bytes(24) + (2).to_bytes(2, "little") + bytes(16)
    directory = b"".join(entry + os.urandom(2) for _ in range(300_000))
    end = b"PK\x05\x06" + bytes(4) + b"\xff\xff" * 2 + len(directory).to_bytes(4, "little") + bytes(6)
    forged = {**content, "policy.pth": directory + end}
    write_zip(zip_path, forged, compression=zipfile.ZIP_DEFLATED)
    assert zip_path.stat().st_size < 3 * MIB
    with within(100), quickly(2), pytest.raises(errors.NotAnAgent, match="more than 65,536 members"):
        archive.read(zip_path)


def test_weights_of_many_pickles_are_refused_before_one_is_read(content: dict[str, bytes], zip_path: Path) -> None:
    slow = b"N0" * 90_000 + b"N."
    inner = {**zipped_tensors(slow), **{f"{i}/data.pkl": slow for i in range(300)}}
    write_zip(zip_path, {**content, "policy.pth": packed(inner, zip_path)})
    with quickly(2), pytest.raises(errors.WeightsUnfit, match="not what torch.save writes"):
        archive.read(zip_path)


def test_file_of_more_than_the_limit_is_not_read(zip_path: Path) -> None:
    with zip_path.open("wb") as file:
        file.truncate(1 << 40)
    with within(1), pytest.raises(errors.NotAnAgent, match="the limit is 1 GiB"):
        archive.read(zip_path)


def test_file_that_cannot_be_read_is_told(zip_path: Path) -> None:
    zip_path.mkdir()
    with pytest.raises(errors.AgentFileDamaged, match=r"agent.zip cannot be read \(Is a directory\)"):
        archive.read(zip_path)


# --- tensors ---------------------------------------------------------------------------------------

IMPOSSIBLE = {
    "one number a billion times": (10, 0, (10**9,), (0,)),
    "a matrix of one row": (10, 0, (10**6, 10), (0, 1)),
    "an offset before the start": (10, -1, (5,), (1,)),
    "an offset behind the end": (10, 10, (1,), (1,)),
    "an end behind the end": (10, 1, (10,), (1,)),
    "steps beyond the end": (10, 0, (2,), (10,)),
    "steps backwards": (10, 9, (5,), (-1,)),
    "more numbers than there are": (10_000_000, 0, (10_000_000,), (1,)),
    "fewer numbers than there are": (5, 0, (5,), (1,)),
    "no numbers": (10, 0, (0,), (1,)),
    "no numbers in a huge shape": (10, 0, (2**62, 2**62, 0), (1, 1, 1)),
    "a size that overflows": (10, 0, (2**62,), (4,)),
    "a size of 64 dimensions": (10, 0, (1,) * 64, (1,) * 64),
    "a shape without strides": (10, 0, (2, 5), (1,)),
    "a shape of text": (10, 0, ("2",), (1,)),
    "a shape of truths": (10, 0, (True,), (1,)),
    "a shape that is no tuple": (10, 0, 10, 1),
    "an offset that is text": (10, "0", (10,), (1,)),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("old", [False, True], ids=["zipped", "old"])
def test_impossible_tensor_is_refused_before_it_is_made(
    content: dict[str, bytes], zip_path: Path, name: str, old: bool
) -> None:
    pickled = mapping(weight=tensor(*IMPOSSIBLE[name]))
    numbers = bytes(40)
    pth = old_tensors(pickled)[:-1] + b"X\x01\0\0\x000a." if old else b""
    pth = pth + (10).to_bytes(8, "little") + numbers if old else packed(zipped_tensors(pickled, _0=numbers), zip_path)
    write_zip(zip_path, {**content, "policy.pth": pth})
    with within(10), quickly(), pytest.raises(errors.WeightsUnfit):
        archive.read(zip_path)


@pytest.mark.parametrize("old", [False, True], ids=["zipped", "old"])
def test_possible_tensor_is_made(content: dict[str, bytes], zip_path: Path, old: bool) -> None:
    """What the forged ones are forged from."""
    import numpy as np

    pickled = mapping(weight=tensor(10, 1, (2, 3), (1, 2)))
    numbers = np.arange(10, dtype="<f4").tobytes()
    pth = old_tensors(pickled)[:-1] + b"X\x01\0\0\x000a." if old else b""
    pth = pth + (10).to_bytes(8, "little") + numbers if old else packed(zipped_tensors(pickled, _0=numbers), zip_path)
    write_zip(zip_path, {**content, "policy.pth": pth})
    assert archive.read(zip_path).weights["weight"].tolist() == [[1, 3, 5], [2, 4, 6]]


def test_one_storage_under_thousands_of_names_is_refused(content: dict[str, bytes], zip_path: Path) -> None:
    names = {f"w{i}": tensor(250_000, 0, (250_000,), (1,)) for i in range(3000)}
    inner = zipped_tensors(mapping(**names), _0=bytes(MIB)[:1_000_000])
    write_zip(zip_path, {**content, "policy.pth": write_zip(zip_path, inner).read_bytes()})
    with within(30), quickly(2), pytest.raises(errors.WeightsUnfit, match="far more numbers than it holds"):
        archive.read(zip_path)


@pytest.mark.parametrize("storage", ["ComplexFloatStorage", "QInt8Storage", "UntypedStorage", "TypedStorage", "load"])
def test_storage_of_another_kind_is_refused(content: dict[str, bytes], zip_path: Path, storage: str) -> None:
    inner = zipped_tensors(mapping(weight=tensor(10, 0, (10,), (1,), storage)), _0=bytes(40))
    write_zip(zip_path, {**content, "policy.pth": packed(inner, zip_path)})
    with pytest.raises(errors.PickleRefused, match=f"refers to torch.{storage}"):
        archive.read(zip_path)


def test_weights_of_a_big_endian_machine_are_refused(content: dict[str, bytes], zip_path: Path) -> None:
    inner = zipped_tensors(mapping(weight=tensor(10, 0, (10,), (1,))), _0=bytes(40))
    write_zip(zip_path, {**content, "policy.pth": packed({**inner, "archive/byteorder": b"big"}, zip_path)})
    with pytest.raises(errors.WeightsUnfit, match="big-endian"):
        archive.read(zip_path)


def test_zip_that_is_also_a_pickle_is_read_as_a_zip(content: dict[str, bytes], zip_path: Path, marker: Path) -> None:
    """torch takes what does not start as a zip for old weights; its first bytes can be both."""
    attack = b"PK\n" + aimed("os.system", marker)
    held = write_zip(zip_path, {"x/": b""}).read_bytes()
    write_zip(zip_path, {**content, "policy.pth": attack + held[len(attack) :]})
    with pytest.raises(errors.SlipwayError):
        archive.read(zip_path)
    assert not marker.exists()

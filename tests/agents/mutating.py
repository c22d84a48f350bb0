"""Mutations of honest pickles, archives and statistics, read one after another.

Run by ``test_mutations`` as a program, in a process of its own: its memory is limited and measured.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import pickletools
import resource
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import errors
from pipeline.agents import archive, inspection, listing, pickles, records, statistics, tensors

from .tripwires import Tripwire

ADDRESS_SPACE = 4 << 30
OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
EXTREMES = (b"\0", b"\xff", b"\x80", b"\x7f")


@dataclass(frozen=True)
class Sample:
    """An honest pickle.

    :param kind: what it is the pickle of: "space", "tensors", "arguments", or anything else
    :param before: what stands in front of it in its file
    :param behind: what follows it
    """

    kind: str
    pickled: bytes
    before: bytes = b""
    behind: bytes = b""


@dataclass
class Tally:
    """What became of the mutations."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    grown_mib: float = 0.0
    escaped: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def attempt(self, content: bytes, act: Callable[..., object], *given: object) -> None:
        begun = time.thread_time()
        try:
            act(*given)
            self.read += 1
        except errors.SlipwayError:
            self.refused += 1
        except BaseException as error:
            self.escaped.append(f"{error!r} by {content[:2000]!r}")
        self.slowest = max(self.slowest, time.thread_time() - begun)


def operations(pickled: bytes) -> list[bytes]:
    """A pickle cut into its operations."""
    starts = [place for _, _, place in pickletools.genops(pickled)]
    return [pickled[start:end] for start, end in zip(starts, [*starts[1:], len(pickled)], strict=True)]


class Mutator:
    """Mutations by operation, which keep much of a pickle's sense, and by byte, which do not."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.drawn: list[int] = []

    def below(self, limit: int) -> int:
        if not self.drawn:
            self.drawn = self.random.integers(0, 1 << 40, 100_000).tolist()
        return self.drawn.pop() % max(limit, 1)

    def bytes_of(self, content: bytes, other: bytes, edits: int) -> bytes:
        held = bytearray(content)
        for _ in range(edits):
            place, way = self.below(len(held)), self.below(5)
            if way == 0 and held:
                held[place] ^= 1 << self.below(8)
            elif way == 1 and held:
                held[place] = self.below(256)
            elif way == 2:
                held[place:place] = bytes(self.below(256) for _ in range(1 + self.below(8)))
            elif way == 3:
                del held[place : place + 1 + self.below(16)]
            else:
                start = self.below(len(other))
                held[place : place + self.below(40)] = other[start : start + self.below(40)]
        return bytes(held)

    def operations_of(self, ops: list[bytes], other: list[bytes], edits: int) -> bytes:
        held = list(ops)
        for _ in range(edits):
            place, way = self.below(len(held)), self.below(6)
            op = held[place] if held else b""
            start = self.below(len(other))
            if way == 0:
                held[place : place + 1] = [OPCODES[self.below(len(OPCODES))] + op[1:]]
            elif way == 1:
                del held[place : place + 1 + self.below(2)]
            elif way == 2:
                again = self.below(len(held))
                held[again:again] = held[place : place + 1 + self.below(6)]
            elif way == 3:
                held[place:place] = other[start : start + 1 + self.below(8)]
            elif way == 4:
                held[place : place + 1] = [op[:1] + EXTREMES[self.below(4)] * (len(op) - 1)]
            else:
                held[place : place + 1] = other[start : start + 1]
        return b"".join(held)

    def pickle_of(self, ops: list[bytes], other: list[bytes]) -> bytes:
        """One of three by bytes, one by operations, one by both."""
        way = self.below(3)
        content = self.operations_of(ops, other, 1 + self.below(2)) if way else b"".join(ops)
        return content if way == 1 else self.bytes_of(content, b"".join(other[:40]), 1 + self.below(2))


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def consume(sample: Sample, pickled: bytes) -> None:
    """Read it as the pipeline does."""
    if sample.kind == "tensors":
        tensors.read(sample.before + pickled + sample.behind)
        return
    if sample.kind == "arguments":  # a config may allow classes of its own: then any name is read
        pickles.read(pickled, pickles.ANY)
    found = pickles.read(pickled)
    if sample.kind == "space":
        records.space(found)


def read_pickles(samples: list[Sample], count: int, tripwire: Tripwire) -> Tally:
    mutator, tally = Mutator(0), Tally()
    cut = [operations(sample.pickled) for sample in samples]
    for sample in samples:
        consume(sample, sample.pickled)  # imports what reading needs; an honest one is read
    before = peak_mib()
    for _ in range(count):
        index, other = mutator.below(len(samples)), mutator.below(len(samples))
        mutation = mutator.pickle_of(cut[index], cut[other])
        with tripwire.set():
            tally.attempt(mutation, consume, samples[index], mutation)
        tally.events += tripwire.events
    tally.grown_mib = peak_mib() - before
    return tally


def within_archive(mutator: Mutator, content: dict[str, bytes]) -> dict[str, bytes]:
    """The members with one of them changed: as bytes, or in a pickle that it holds."""
    way = mutator.below(4)
    if way == 0:
        name = ("data", "policy.pth", "_stable_baselines3_version", "system_info.txt")[mutator.below(4)]
        return {**content, name: mutator.bytes_of(content[name], content["data"], 1 + mutator.below(3))}
    if way == 1:
        data = json.loads(content["data"])
        name = ("observation_space", "action_space", "policy_class")[mutator.below(3)]
        ops = operations(base64.b64decode(data[name][":serialized:"]))
        data[name][":serialized:"] = base64.b64encode(mutator.pickle_of(ops, ops)).decode()
        return {**content, "data": json.dumps(data).encode()}
    with zipfile.ZipFile(io.BytesIO(content["policy.pth"])) as inner:
        held = {name: inner.read(name) for name in inner.namelist()}
    name = next(name for name in held if name.endswith("data.pkl"))
    ops = operations(held[name])
    held[name] = mutator.pickle_of(ops, ops)
    return {**content, "policy.pth": packed(held)}


def packed(content: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        for name, member in content.items():
            opened.writestr(name, member)
    return held.getvalue()


def show(path: Path) -> None:
    """Inspecting never fails, and gives the verdict that reading gives."""
    facts = inspection.inspect(path)
    json.dumps(facts, allow_nan=False)
    assert listing.text(facts, 100).replace("\n", "").isprintable()
    try:
        archive.read(path)
    except errors.SlipwayError as error:
        assert facts["verdict"] == str(error)
        raise


def read_archives(zips: list[bytes], count: int, path: Path, tripwire: Tripwire) -> Tally:
    """Whole archives: half of them changed in the zip's own bytes, half within a zip that is whole.

    One in four is inspected too.
    """
    mutator, tally = Mutator(1), Tally()
    contents = []
    for held in zips:
        path.write_bytes(held)
        show(path)
        with zipfile.ZipFile(path) as opened:
            contents.append({name: opened.read(name) for name in opened.namelist()})
    before = peak_mib()
    for number in range(count):
        index, other = mutator.below(len(zips)), mutator.below(len(zips))
        if mutator.below(2):
            mutation = mutator.bytes_of(zips[index], zips[other], 1 + mutator.below(3))
        else:
            mutation = packed(within_archive(mutator, contents[index]))
        path.write_bytes(mutation)
        with tripwire.set(path):
            tally.attempt(mutation, archive.read if number % 4 else show, path)
        tally.events += tripwire.events
    tally.grown_mib = peak_mib() - before
    return tally


def read_statistics(held: list[tuple[bytes, dict[str, Any]]], count: int, path: Path, tripwire: Tripwire) -> Tally:
    """Whole files of VecNormalize, each with the observation space that they are held to."""
    mutator, tally = Mutator(2), Tally()
    cut = [operations(pickled) for pickled, _ in held]
    for pickled, space in held:
        path.write_bytes(pickled)
        statistics.read(path, space)
    before = peak_mib()
    for _ in range(count):
        index, other = mutator.below(len(held)), mutator.below(len(held))
        mutation = mutator.pickle_of(cut[index], cut[other])
        path.write_bytes(mutation)
        with tripwire.set(path):
            tally.attempt(mutation, statistics.read, path, held[index][1])
        tally.events += tripwire.events
    tally.grown_mib = peak_mib() - before
    return tally


def main(job: Path) -> None:
    """Do a job of ``test_mutations``, and print what became of it as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    given = pickle.loads(job.read_bytes())
    b"x".decode("raw-unicode-escape")  # a codec is a module
    tripwire = Tripwire()
    sys.addaudithook(tripwire)
    if given["what"] == "pickles":
        tally = read_pickles(given["held"], given["count"], tripwire)
    else:
        read = {"archives": read_archives, "statistics": read_statistics}[given["what"]]
        tally = read(given["held"], given["count"], job.with_suffix(".mutation"), tripwire)
    print(json.dumps(asdict(tally)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

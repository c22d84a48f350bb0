"""What pickles refer to, by a scan of their operations: nothing is made, imported or called.

Where :mod:`pipeline.agents.pickles` refuses what it does not expect, this goes on, to show what a stranger's file
would import. Stack and memo are followed as far as texts go, because the names of STACK_GLOBAL lie there.
Stack effects: the standard library's ``pickletools``.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from pipeline import errors
from pipeline.agents import zips

MAX_OPERATIONS = 100_000
_PICKLES_BEFORE_ZIPS = 5  # of a file of tensors, torch before 1.6


@dataclass
class Scan:
    """What one pickle, or several that belong together, refer to.

    :param names: (module, name), each once, in order; "?" where a name is computed
    :param ended: why the scan did not reach the end; "" if it did
    """

    names: list[tuple[str, str]] = field(default_factory=list)
    ended: str = ""

    def add(self, module: str, name: str) -> None:
        if (module, name) not in self.names:
            self.names.append((module, name))

    def refused(self, allowed: frozenset[tuple[str, str]]) -> list[str]:
        return [dotted(name) for name in self.names if name not in allowed]


def dotted(name: tuple[str, str]) -> str:
    return errors.printable(".".join(name))[:200]


def of_pickle(content: bytes) -> Scan:
    """Of one pickle; what follows it is never unpickled."""
    found = Scan()
    found.ended = _follow(io.BytesIO(content), found)
    return found


def of_tensors(content: bytes) -> Scan:
    """Of all pickles of a file that ``torch.save`` wrote, zipped or not."""
    found = Scan()
    try:
        for file in _pickles(content):
            found.ended = found.ended or _follow(file, found)
    except errors.SlipwayError as error:
        found.ended = error.what
    return found


def _pickles(content: bytes) -> Iterator[IO[bytes]]:
    if content.startswith(b"PK") and zipfile.is_zipfile(io.BytesIO(content)):
        for name, held in zips.members(content, "the file", zips.MAX_TENSOR_MEMBERS).items():
            if name.endswith(".pkl"):
                yield io.BytesIO(held)
        return
    file = io.BytesIO(content)
    for _ in range(_PICKLES_BEFORE_ZIPS):
        if file.tell() < len(content):
            yield file


def _follow(file: IO[bytes], found: Scan) -> str:
    """Add what a pickle refers to. Why it was not followed to its end, or ""."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for count, (op, arg, _) in enumerate(pickletools.genops(file)):
            if count == MAX_OPERATIONS:
                return f"only its first {MAX_OPERATIONS:,} operations were scanned"
            if op.name in ("GLOBAL", "INST"):
                found.add(*str(arg).split(" ", 1))
            elif op.name == "STACK_GLOBAL":
                found.add(*(held if isinstance(held, str) else "?" for held in stack[-2:]))
            elif op.name in ("EXT1", "EXT2", "EXT4"):
                found.add("copyreg", f"extension {arg}")
            _move(op, arg, stack, memo)
    except Exception as error:  # a forged stream can break any operation's assumption; unpickling would end there too
        return f"malformed ({type(error).__name__})"
    return ""


def _move(op: pickletools.OpcodeInfo, arg: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """What an operation does to stack and memo; whatever is no text is None."""
    mark = pickletools.markobject
    if op.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
        memo[len(memo) if op.name == "MEMOIZE" else arg] = stack[-1]
    elif op.name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[arg])
    elif op.name == "DUP":
        stack.append(stack[-1])
    elif op.name == "MARK":
        stack.append(mark)
    else:
        takes = len(op.stack_before)
        if mark in op.stack_before or (op.name == "POP" and stack[-1] is mark):
            while stack.pop() is not mark:
                pass
            takes = op.stack_before.index(mark) if mark in op.stack_before else 0
        if takes > len(stack):
            raise IndexError
        del stack[len(stack) - takes :]
        pushed = arg if isinstance(arg, str) and not op.stack_before else None
        stack.extend([pushed] * len(op.stack_after))

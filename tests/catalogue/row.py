"""A row of the catalogue, and the folder that rows put what is wrong into."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch

from pipeline import told
from pipeline.hops import KINDS


@dataclass
class Bench:
    """A folder of configs, and the honest agent that archives are forged from.

    :param name: the row's, and so its agent's and its archive's
    """

    folder: Path
    good: bytes
    name: str = ""

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.name}{suffix}"

    def write(self, content: bytes, suffix: str = ".zip") -> None:
        self.path(suffix).write_bytes(content)

    def members(self) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(self.good)) as opened:
            return {name: opened.read(name) for name in opened.namelist()}

    def pack(self, members: dict[str, bytes], forge: Callable[[list[zipfile.ZipInfo]], None] | None = None) -> None:
        """:param forge: changes what the zip's directory will say"""
        with zipfile.ZipFile(self.path(".zip"), "w") as opened:
            for name, held in members.items():
                opened.writestr(name, held)
            if forge:
                forge(opened.infolist())

    def without(self, member: str) -> None:
        self.pack({name: held for name, held in self.members().items() if name != member})

    def data(self, **fields: object) -> None:
        """The agent with other fields in ``data``: bytes are a pickle, other values that JSON lacks are pickled."""
        members = self.members()
        held = {**json.loads(members["data"]), **{key: _plain(value) for key, value in fields.items()}}
        self.pack({**members, "data": json.dumps(held).encode()})

    def weights(self, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
        members = self.members()
        state = torch.load(io.BytesIO(members["policy.pth"]), weights_only=True)
        change(state)
        held = io.BytesIO()
        torch.save(state, held)
        self.pack({**members, "policy.pth": held.getvalue()})


def _plain(value: object) -> Any:
    if value is None or isinstance(value, str | int | float | list | dict):
        return value
    held = value if isinstance(value, bytes) else cloudpickle.dumps(value)
    return {":type:": "anything", ":serialized:": base64.b64encode(held).decode()}


@dataclass(frozen=True)
class Row:
    """Something that is wrong.

    :param name: of the row, and of its agent
    :param wrong: what is wrong, for the page
    :param line: what ./doit says of it; ``{here}`` stands for the folder of the configs, ``{kinds}`` and ``{settings}``
        for what there is of them
    :param config: its config, but for ``targets``; "" is one that names the row's archive
    :param make: puts its files into the bench's folder
    :param ask: arguments of a run of its own; without them, the config is one of many in a run
    :param code: exit code of that run
    :param fact: numbers of the rows that it answers in section 5 of ../shared/reliability-facts.md
    """

    name: str
    wrong: str
    line: str
    config: str = ""
    make: Callable[[Bench], object] | None = None
    ask: tuple[str, ...] = ()
    code: int = 2
    fact: tuple[int, ...] = ()

    def says(self, here: object) -> str:
        """The line, of a folder."""
        known = {"{here}": str(here), "{kinds}": ", ".join(KINDS), "{settings}": ", ".join(told.SETTINGS)}
        return re.sub(r"\{(here|kinds|settings)\}", lambda found: known[found[0]], self.line)


@dataclass(frozen=True)
class Answer:
    """Something that is wrong with what was given, or with the machine, and is no row: with the reason.

    :param fact: numbers as those of a row
    """

    wrong: str
    answer: str
    fact: tuple[int, ...]

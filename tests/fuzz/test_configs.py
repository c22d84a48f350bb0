"""Configs: bytes, and TOML whose keys are Slipway's and whose values may be anything."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import config, errors, steps
from pipeline.hops import KINDS
from pipeline.settings import RUNGS
from pipeline.spec import Agent
from pipeline.steps import whole
from pipeline.tasks import RESERVED

from .watching import SCALARS, VALUES, often, soon, tree

GOOD = {"zip": "good.zip", "vecnormalize": "none", "targets": ["onnx", "tflite"]}
WORDS = st.sampled_from(
    [
        "good.zip",
        "good.pkl",
        ".",
        "..",
        "gone.zip",
        *KINDS,
        *RUNGS,
        "CartPole-v1",
        "channel-last",
        "a.b:C",
        "PPO",
        "a/b",
        "0" * 40,
    ]
)
TABLES = {name: kind for name, kind in get_type_hints(Agent).items() if dataclasses.is_dataclass(kind)}
PLAIN = [field.name for field in dataclasses.fields(Agent) if field.name not in TABLES]
HELD = st.one_of(WORDS, st.lists(WORDS, max_size=3), VALUES)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A good config with some keys of it set to anything."""
    lines, tables = dict(GOOD), {}
    for key in draw(st.lists(st.sampled_from(PLAIN), max_size=3)):
        lines[key] = draw(HELD)
    for table in draw(st.lists(st.sampled_from(sorted(TABLES)), max_size=3)):
        names = [field.name for field in dataclasses.fields(TABLES[table])]
        keys = st.one_of(st.sampled_from(names), st.text(min_size=1, max_size=8))
        tables[table] = draw(st.dictionaries(keys, HELD, max_size=4))
    text = "\n".join(f"{key} = {_toml(value)}" for key, value in lines.items())
    for table, values in tables.items():
        text += f"\n[{table}]\n" + "\n".join(f"{_toml(str(key))} = {_toml(value)}" for key, value in values.items())
    return text + "\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it; what it has no word for is a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(str(key))} = {_toml(held)}" for key, held in value.items()) + " }"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value or "", ensure_ascii=True)


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A config with some bytes exchanged, or no config at all."""
    held = bytearray(draw(documents()).encode())
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(held)))
        held[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(held)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        for file in ("good.zip", "good.pkl"):
            (Path(name) / file).write_bytes(b"PK")
        yield Path(name)


def _load(folder: Path, text: bytes) -> None:
    """As ./doit reads it, and asks each of its steps."""
    path = folder / "fuzzed.toml"
    path.write_bytes(text)
    before = tree(folder)
    with soon():
        try:
            agent = config.load(path, KINDS, RESERVED)
        except errors.SlipwayError as error:
            assert str(error).isprintable()
            raise
        made = steps.steps(agent, folder / "artifacts")
        assert made
        for step in made:
            assert (not agent.python and not step.fresh()) or agent.python
        assert not whole.fresh(agent, folder / "artifacts", False)
    assert tree(folder) == before


@often(60, 5000)
@given(text=documents())
@example(text='zip = "a\\u0000.zip"\n')
@example(text=f'zip = "{"x" * 300}.zip"\n')
@example(text='zip = "good.zip"\nimport_from = ["a\\u0000"]\n')
@example(text='zip = "good.zip"\n[edgetpu]\ncommand = ["a\\u0000"]\n')
def test_config_of_any_values_is_read_or_refused(folder: Path, text: str) -> None:
    _load(folder, text.encode())


@often(60, 5000)
@given(text=st.one_of(mangled(), st.binary(max_size=200)))
@example(text=b"targets = " + b"[" * 5000)
@example(text=b"a." * 5000 + b"b = 1")
@example(text=b"a = {" * 2000)
def test_config_of_any_bytes_is_read_or_refused(folder: Path, text: bytes) -> None:
    _load(folder, text)


@often(20, 500)
@given(name=st.one_of(st.text(min_size=1, max_size=80), SCALARS.map(str)))
def test_config_of_any_name_is_read_or_refused(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "configs"
        folder.mkdir()
        (folder / "good.zip").write_bytes(b"PK")
        path = folder / (name.replace("/", "_").replace("\0", "_") + ".toml")
        try:
            path.write_text('zip = "good.zip"\n')
        except (OSError, UnicodeEncodeError):
            return  # no file can have that name
        with soon():
            assert config.load(path, KINDS, RESERVED).name == path.stem


@pytest.mark.parametrize("place", ["loop", "dangling", "folder"])
def test_config_that_is_no_file_is_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.toml"
    if place == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if place == "loop" else tmp_path / "gone")
    with pytest.raises(errors.ConfigUnreadable):
        config.load(path, KINDS, RESERVED)
    shutil.rmtree(path) if place == "folder" else path.unlink()

"""Contracts: a ``policy.json`` of any content, and what a job of a toolchain makes of it.

A job's exceptions become one line (``pipeline.worker``); none may hang, exhaust memory, or leave anything outside of its
folder.
"""

from __future__ import annotations

import copy
import json
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from agents.cases import CASES
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import artifacts, contract, doing, errors, worker
from pipeline.agents import jobs
from pipeline.hops import numpy_policy

from .watching import VALUES, often, soon, tree

GIB = 1 << 30


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The weights of an agent and observations for them; and a limit to this process's memory, as jobs have one."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("contracts")
    tiny = CASES["ppo_normalized"].save(home)
    opened = {"algorithm": "", "images": "channel-last", "trust": False, "import_allowed": []}
    asked = {"agent": "tiny", "zip": str(tiny.zip), "vecnormalize": str(tiny.pkl), "outputs": [], "stochastic": False}
    for name in ("sb3", "weights", "out"):
        (home / name).mkdir()
    jobs.read(home / "sb3", {**asked, "frame_stack": 1, "opened": opened})
    job = {"source": home / "sb3", "target": home / "weights", "kind": "weights", "module": "sb3_to_weights"}
    doing.convert({**job, "golden": "", "tools": {}, "settings": {}})
    import numpy as np

    np.savez(home / "observations.npz", **tiny.inputs(4))
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 3 * GIB, before[1]))
    yield home
    resource.setrlimit(resource.RLIMIT_AS, before)


@st.composite
def changed(draw: st.DrawFn, told: dict[str, Any]) -> dict[str, Any]:
    """A contract of which some values, at any depth, are others."""
    found = copy.deepcopy(told)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = found
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys)) if keys else None
            inner = place[key] if keys else None
            if not keys or not isinstance(inner, dict | list) or draw(st.integers(0, 2)) == 0:
                break
            place = inner
        if key is None:
            continue
        if draw(st.booleans()):
            place[key] = draw(VALUES)
        else:
            place.pop(key)
    return found


def _used(home: Path, name: str, told: Any) -> None:
    """Run the weights in their job, and as a user does."""
    with tempfile.TemporaryDirectory() as place:
        folder, target = Path(place) / "weights", Path(place) / "out"
        shutil.copytree(home / "weights", folder)
        target.mkdir()
        (folder / name).write_text(json.dumps(told))
        before = tree(Path(place))
        job = {"runtime": "weights", "source": folder, "target": target, "needs": {}}
        with soon():
            try:
                doing.run({**job, "observations": home / "observations.npz"})
            except errors.SlipwayError:
                raise
            except Exception as error:
                assert errors.printable(str(errors.ConverterFailed(worker._telling(error))))
        with soon():
            try:
                numpy_policy.NumpyPolicy(folder)(artifacts.arrays(home / "observations.npz"))
            except Exception as error:
                assert not isinstance(error, RecursionError)
        assert {name for name in tree(Path(place)).keys() ^ before.keys() if not name.startswith("out/")} == set()


@often(40, 1500)
@given(data=st.data(), name=st.sampled_from([contract.FILE, "architecture.json"]))
def test_contract_of_any_values_is_followed_or_refused(built: Path, data: st.DataObject, name: str) -> None:
    told = json.loads((built / "weights" / name).read_text())
    _used(built, name, data.draw(changed(told)))


@often(40, 1000)
@given(held=st.one_of(st.binary(max_size=100), VALUES.map(lambda value: json.dumps(value).encode())))
@example(held=b"[" * 100_000)
@example(held=b"[]")
@example(held=b"\xff")
def test_contract_of_any_bytes_is_read_or_refused(held: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / contract.FILE).write_bytes(held)
        with soon():
            assert isinstance(contract.load(Path(place)), dict)

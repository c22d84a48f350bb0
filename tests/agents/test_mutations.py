"""A hundred thousand mutations of honest pickles, archives and statistics are read or refused, and nothing else."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.agents import archive
from running import ROOT

from .making import Tiny, described, pickled
from .mutating import Sample

AGENTS = ("ppo_normalized", "sac_box", "dqn_elu", "ppo_grid", "a2c_gsde", "ppo_table_normalized")
MEMORY = Path("/dev/shm")  # thousands of files are written one after another
COUNTS = {"pickles": 100_000, "archives": 3_000, "statistics": 3_000}


@pytest.fixture(scope="module")
def agents(made: Callable[[str], Tiny]) -> list[Tiny]:
    return [made(name) for name in AGENTS]


def samples(agents: list[Tiny]) -> list[Sample]:
    """Every pickle that a reader opens: of each field, of the statistics, of the tensors."""
    found = [Sample("arguments", pickled(agents[2].zip, "policy_kwargs"))]
    for agent in agents:
        found += [Sample("space", pickled(agent.zip, f"{name}_space")) for name in ("observation", "action")]
        found.append(Sample("class", pickled(agent.zip, "policy_class")))
        if agent.pkl:
            found.append(Sample("statistics", agent.pkl.read_bytes()))
        found.append(_tensors(agent))
    return found


def _tensors(agent: Tiny) -> Sample:
    """The pickled mapping of tensors, in a file of old torch: unlike a zip, it takes no time to make again."""
    held, ends = io.BytesIO(), []
    torch.save(archive.read(agent.zip).weights, held, _use_new_zipfile_serialization=False)
    held.seek(0)
    for _ in range(5):
        for _ in pickletools.genops(held):
            pass
        ends.append(held.tell())
    whole = held.getvalue()
    return Sample("tensors", whole[ends[2] : ends[3]], whole[: ends[2]], whole[ends[3] :])


@pytest.fixture(scope="module", params=COUNTS)
def tally(request: pytest.FixtureRequest, agents: list[Tiny]) -> dict[str, Any]:
    """What became of the mutations of one sort, read in a process of their own."""
    what = request.param
    held: Any = samples(agents)
    if what == "archives":
        held = [agent.zip.read_bytes() for agent in agents]
    elif what == "statistics":
        held = [(agent.pkl.read_bytes(), described(agent.observed)) for agent in agents if agent.pkl]
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        job = Path(folder) / "job"
        job.write_bytes(pickle.dumps({"what": what, "held": held, "count": COUNTS[what]}))
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "agents.mutating", str(job)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=500)
        assert done.returncode == 0, done.stderr
        left = {path.name for path in Path(folder).iterdir()} - {"job", "job.mutation"}
    return {**json.loads(done.stdout), "what": what, "left": left}


def test_every_mutation_is_read_or_refused(tally: dict[str, Any]) -> None:
    assert tally["escaped"] == []
    assert tally["read"] + tally["refused"] == COUNTS[tally["what"]]


def test_many_mutations_get_far(tally: dict[str, Any]) -> None:
    """If all were refused at their first byte, the others would prove nothing."""
    assert min(tally["read"], tally["refused"]) > 0.02 * COUNTS[tally["what"]]


def test_mutations_execute_nothing(tally: dict[str, Any]) -> None:
    assert tally["events"] == []


def test_mutations_leave_nothing_behind(tally: dict[str, Any]) -> None:
    assert tally["left"] == set()


def test_mutations_take_little_memory(tally: dict[str, Any]) -> None:
    assert tally["grown_mib"] < 500


def test_no_mutation_takes_long(tally: dict[str, Any]) -> None:
    assert tally["slowest"] < 1

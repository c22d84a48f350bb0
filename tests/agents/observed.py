"""What the job that observes writes, and a fixture that runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import contract as contracts
from pipeline.agents import observing

from .making import Inputs, Tiny
from .worlds import environment

NONE = environment("")


@dataclass
class Observed:
    """What the job wrote."""

    inputs: Inputs
    reference: Inputs
    about: dict[str, Any]
    draws: Inputs
    contract: dict[str, Any]

    def golden(self) -> Inputs:
        """Golden inputs, in the dtypes that are taken."""
        dtypes = {entry["name"]: entry["dtype"] for entry in self.contract["takes"]}
        return {name: np.array(values, dtypes[name]) for name, values in self.about["golden"]["inputs"].items()}


@pytest.fixture
def observe(read: Callable[..., Any], tmp_path: Path) -> Callable[..., Observed]:
    """Reads and observes a tiny agent."""

    def make(
        tiny: Tiny, world: dict[str, Any] = NONE, outputs: tuple[str, ...] = (), stochastic: bool = False, **fields: Any
    ) -> Observed:
        source, contract = read(tiny, outputs=list(outputs), stochastic=stochastic)
        target = tmp_path / "observations"
        target.mkdir()
        held = {
            "environment": world,
            "episodes": 2,
            "samples": 24,
            "edges": 8,
            "seed": 5,
            "calibration": False,
            "file": "",
            "drawn": True,
        }
        observing.observe(source, target, {**held, **fields})
        written = {p.name for p in target.iterdir()}
        assert written - {"draws.npz"} == {"about.json", "observations.npz", "reference.npz"}
        return Observed(
            contracts.read_inputs(contract, target / "observations.npz"),
            dict(np.load(target / "reference.npz")),
            json.loads((target / "about.json").read_text()),
            dict(np.load(target / "draws.npz")) if "draws.npz" in written else {},
            contract,
        )

    return make

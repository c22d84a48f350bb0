"""The golden vectors of a bundle's artifacts, through runtimes that act on data: the entry inside ``device``.

    python -m pipeline.bundles.golden FOLDER RESULT

``FOLDER`` is a bundle that was opened and held to its digests. What an artifact answers may be as far from the golden
answer as the check that passed it found on any observation, and what is granted to full precision more: the golden
inputs are among those observations. Nothing out of the bundle is executed: the NumPy policy is Slipway's own, and what
holds a program (TorchScript, SavedModel, C++) is not run.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline.hops import BY_KIND
from pipeline.settings import Tolerance

if TYPE_CHECKING:
    import numpy as np

    from pipeline.contract import Run

    Arrays = Mapping[str, np.ndarray]

SAFE = ("onnxruntime", "litert", "weights")  # runtimes that read graphs and numbers, and no programs
MEMORY = 4 << 30
SECONDS = 60


def runtime_of(kind: str) -> str:
    """The runtime that a kind's golden vectors go through; "" where none of them is safe."""
    return next((name for name in BY_KIND[kind].runtimes if name in SAFE), "")


def unrun(kind: str) -> str:
    """Why a kind's golden vectors are not run."""
    needs = {"edgetpu": "needs a Coral", "tfjs": "needs Node or a browser"}
    return needs.get(kind, "holds a program, and nothing out of a bundle is executed")


def answer(folder: Path) -> dict[str, str]:
    """What is wrong with each kind's answers, or ""; of those that can be run safely.

    :param folder: an opened bundle
    """
    found = {}
    for place in sorted((folder / "artifacts").iterdir()):
        runtime = runtime_of(place.name)
        if runtime:
            verdicts = [json.loads(path.read_text(encoding="utf-8"))
                        for path in sorted((folder / "verdicts" / place.name).glob("*.json"))]  # fmt: skip
            try:
                found[place.name] = compare(place, runtime, verdicts)
            except Exception as error:  # whatever a runtime makes of a stranger's file is a finding
                lines = str(error).strip().splitlines() or ["no message"]
                found[place.name] = f"{runtime} cannot run it: {type(error).__name__}: {lines[0][:200]}"
    return found


def compare(artifact: Path, runtime: str, verdicts: list[dict[str, Any]]) -> str:
    """What is wrong with an artifact's answers to its golden inputs; "" where nothing is.

    :param verdicts: that were found on it
    """
    import numpy as np

    contract = contracts.load(artifact)
    golden = contract["golden"]
    inputs = {entry["name"]: np.array(golden["inputs"][entry["name"]], entry["dtype"]) for entry in contract["takes"]}
    found = contracts.decide(contract, _load(artifact, runtime, contract), inputs)
    wanted = {name: np.array(values) for name, values in golden["outputs"].items()}
    measured = [verdict["figures"].get("outputs", {}) for verdict in verdicts]
    for name, values in wanted.items():
        if name not in found:
            return f"there is no output {name}"
        if found[name].shape != values.shape:
            return f"{name} is of shape {list(found[name].shape)}, not {list(values.shape)}"
        largest = max((float(figures[name]["max"]) for figures in measured if name in figures), default=0.0)
        errors = np.abs(found[name].astype(np.float64) - values)
        allowed = largest + Tolerance.absolute + Tolerance.relative * np.abs(values)
        wrong = ~(errors <= allowed)  # NaN is wrong too
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            return (
                f"{name} of golden vector {row} is off by {errors[row].max():.3g}, not {allowed[row].max():.3g} at most"
            )
    return ""


def _load(artifact: Path, runtime: str, contract: Mapping[str, Any]) -> Run:
    if runtime == "weights":
        policy = importlib.import_module("pipeline.hops.numpy_policy")
        loaded: Run = policy.NumpyPolicy(artifact)
        return loaded
    module = importlib.import_module(f"pipeline.runtimes.{runtime}")
    run: Run = module.load(artifact, contract, {})
    return run


def _confine() -> None:
    """Little memory and time, and no file that is written to, as far as the system knows such limits."""
    import resource

    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))


def main(folder: Path) -> int:
    """Print what was found as a line of JSON; what the runtimes print goes to standard error."""
    said = os.dup(1)
    os.dup2(2, 1)
    _confine()
    os.write(said, json.dumps(answer(folder)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

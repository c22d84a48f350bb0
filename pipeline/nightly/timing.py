"""How long a decision takes: the artifacts of one toolchain, in one process of it.

    python -m pipeline.nightly.timing JOB RESULT

JOB is JSON: a list of ``folder`` (an artifact), ``runtime`` and ``observations`` (the agent's). RESULT is a list in the
same order: ``us``, microseconds of a decision at batch 1, or ``reason`` where there is none. It is written after each,
so that a runtime that dies takes only what follows with it.

Some artifacts at a time are decided by in turns, and the median of the best turn counts: what else the machine does
meets some turns and not others. A decision goes through Slipway's own runtimes, and so through their bookkeeping: the
figures are for comparing one night with another on one machine. ``./doit bench:deciding`` measures what a user's
program would see.
"""

from __future__ import annotations

import importlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import contract as contracts

TURNS, DECISIONS, WARMING = 5, 40, 10
LONGEST = 0.4  # seconds of a turn: a large network is decided by fewer times
TOGETHER = 24  # artifacts that are open at once

Decide = Callable[[], None]


def opened(folder: Path, runtime: str, observations: Path) -> Decide:
    """A decision about the next of the observations at each call."""
    import numpy as np

    contract = contracts.load(folder)
    run = importlib.import_module(f"pipeline.runtimes.{runtime}").load(folder, contract, {})
    seen = contracts.read_inputs(contract, observations)
    if contract["states"]:  # of sequences, the first step of each
        seen = {name: values[:, 0] for name, values in seen.items()}
    count = min(len(next(iter(seen.values()))), TURNS * DECISIONS)
    rows = [{name: values[row : row + 1] for name, values in seen.items()} for row in range(count)]
    for state in contract["states"]:
        for row in rows:
            row[state["input"]] = np.zeros((1, state["units"]), np.float32)
    following = itertools.cycle(rows)

    def decide() -> None:
        contracts.decide(contract, run, next(following))

    for _ in range(WARMING):
        decide()
    return decide


def turn(decide: Decide) -> float:
    """The median of some decisions, in microseconds."""
    found: list[int] = []
    begun = time.perf_counter()
    while len(found) < DECISIONS and (time.perf_counter() - begun < LONGEST or not found):
        before = time.perf_counter_ns()
        decide()
        found.append(time.perf_counter_ns() - before)
    return statistics.median(found) / 1e3


def main(job: Path, result: Path) -> None:
    asked = json.loads(job.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = []
    for first in range(0, len(asked), TOGETHER):
        deciders: dict[int, Decide] = {}
        for number, told in enumerate(asked[first : first + TOGETHER], first):
            try:
                deciders[number] = opened(Path(told["folder"]), told["runtime"], Path(told["observations"]))
                found.append({"us": round(turn(deciders[number]), 2)})
            except Exception as error:  # whatever a runtime raises is a row
                found.append({"reason": f"{type(error).__name__}: {error}"[:300]})
            result.write_text(json.dumps(found), encoding="utf-8")
        for _ in range(TURNS - 1):
            for number, decide in deciders.items():
                if "us" in found[number]:
                    found[number]["us"] = min(found[number]["us"], round(turn(decide), 2))
        result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""The job that observes: inputs that artifacts are checked on or calibrated with, and what ``predict`` answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import draws, given, jobs, rollouts
from pipeline.agents.reference import Reference

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray]

GOLDEN = 8
GOLDEN_NUMBERS = 4096  # in all golden inputs together, so that a contract with images stays legible
STEPS = 256  # of a recurrent policy's sequences
DRAWS, DRAWN_ROWS = 2000, 4  # of the stochastic policy, at each of so many observations
AT_ONCE = 250  # draws, so that images do not fill the memory

BLIND = (
    "nothing to calibrate on: no environment, no statistics. Name an [environment], give observations "
    "(calibration.file), or take random ones all the same (calibration.drawn = true)"
)


@dataclass(frozen=True)
class Seen:
    """What there is to answer.

    :param inputs: by name in the environment's dtypes, [rows, ...]; [sequences, steps, ...] for a recurrent policy
    :param samples: how many of the first rows are no edges
    :param origin: a phrase that says where they come from
    :param returns: of the episodes, if there were some
    """

    inputs: Inputs
    samples: int
    origin: str
    returns: list[float]


def observe(source: Path, target: Path, settings: dict[str, Any]) -> None:
    """Inputs and what the reference answers to them.

    Writes ``observations.npz``, ``reference.npz``, ``about.json``, which says where they come from, and for a
    stochastic policy ``draws.npz``. A recurrent policy is followed through sequences; for calibration its states
    are stored as inputs like the others.

    :param source: the ``sb3`` artifact
    :param settings: ``environment``, and ``episodes``, ``samples``, ``edges``, ``seed``, ``file`` ("" for none), and
        ``calibration``: whether the inputs are for calibration, where nothing from the edges is wanted, and draws from
        a space that tells too little only where ``drawn`` allows them
    :raises errors.NotRun: there is nothing to calibrate on
    """
    import numpy as np

    contract = contracts.load(source)
    reference = jobs.open_agent(source)
    names = [output["name"] for output in contract["outputs"]]
    if contracts.chooses(contract["epilogue"]):
        names.append("preferences")
    seen = _seen(contract, reference, settings)
    stored = _as_taken(contract, seen.inputs)
    rows = stored
    if contract["states"]:

        def answer(inputs: Mapping[str, np.ndarray]) -> Inputs:
            return reference.outputs(inputs, names)

        answered, states = contracts.follow(contract, answer, seen.inputs)
        rows = {**{name: values.reshape(-1, *values.shape[2:]) for name, values in stored.items()}, **states}
        stored = rows if settings["calibration"] else stored
    else:
        answered = reference.outputs(seen.inputs, names)
    # Of a recurrent policy the first steps of an episode, so that a reader can follow the states.
    most = max(1, min(GOLDEN, seen.samples, GOLDEN_NUMBERS // sum(values[0].size for values in rows.values())))
    last = most - 1 if contract["states"] else seen.samples - 1
    chosen = np.linspace(0, last, most).round().astype(int)
    golden = {name: values[chosen] for name, values in rows.items()}
    np.savez(target / "observations.npz", **_as_stored(stored, seen.inputs))  # type: ignore[arg-type]
    np.savez(target / "reference.npz", **answered)  # type: ignore[arg-type]
    if contract["distribution"] and not settings["calibration"]:
        drawn = _draws(reference, rows, seen.samples, settings["seed"])
        np.savez(target / "draws.npz", **drawn)  # type: ignore[arg-type]
    about = {
        "origin": seen.origin,
        "rollouts": bool(seen.returns),
        "samples": seen.samples,
        "edges": len(answered["action"]) - seen.samples,
        "returns": seen.returns,
        # A few inputs with their answers, for anyone who loads an artifact to check it by.
        "golden": {
            "inputs": {name: values.tolist() for name, values in golden.items()},
            "outputs": {name: values.tolist() for name, values in reference.outputs(golden, names).items()},
        },
    }
    (target / "about.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _as_taken(contract: dict[str, Any], inputs: Inputs) -> Inputs:
    """In the dtypes that artifacts take."""
    return {
        entry["name"]: inputs[entry["name"]].astype(entry["dtype"])
        for entry in contract["takes"]
        if entry["name"] in inputs
    }


def _as_stored(inputs: Inputs, seen: Inputs) -> Inputs:
    """Images in one byte a number, as they were seen."""
    images = {name for name, values in seen.items() if values.dtype.name == "uint8"}
    return {name: values.astype("uint8") if name in images else values for name, values in inputs.items()}


def _seen(contract: dict[str, Any], reference: Reference, settings: dict[str, Any]) -> Seen:
    import numpy as np

    recurrent, seed = bool(contract["states"]), settings["seed"]
    samples = max(2, round(settings["samples"] / STEPS)) * STEPS if recurrent else settings["samples"]
    episodes, returns, origin = _episodes(contract, reference, settings)
    if episodes:
        rows = rollouts.spread(episodes, samples)
        inputs = rollouts.chained(episodes, samples // STEPS, STEPS) if recurrent else rows
    else:
        rows, drawn_from = _without_episodes(contract, reference, settings, samples)
        origin = f"{drawn_from}; {origin}" if origin else drawn_from
        inputs = draws.resets(rows, STEPS, seed) if recurrent else rows
    count = samples if recurrent else len(next(iter(rows.values())))
    if settings["edges"] and not settings["calibration"]:
        further = draws.edges(contract, rows, STEPS if recurrent else settings["edges"], seed)
        further = draws.resets(further, STEPS, seed) if recurrent else further
        inputs = {name: np.concatenate([values, further[name]]) for name, values in inputs.items()}
    return Seen(inputs, count, origin, returns)


def _without_episodes(
    contract: dict[str, Any], reference: Reference, settings: dict[str, Any], samples: int
) -> tuple[Inputs, str]:
    """Rows, and where they come from: the config's file, or draws.

    :raises errors.NotRun: they are for calibration, and nothing tells what the agent sees
    """
    import numpy as np

    if settings["file"]:
        path = Path(settings["file"])
        rows = given.read(path, contract, samples)
        if contract["states"]:  # sequences are whole
            rows = {name: np.resize(values, (samples, *values.shape[1:])) for name, values in rows.items()}
        return rows, f"observations of {path.name}"
    if settings["calibration"] and not settings["drawn"] and draws.blind(contract, reference.statistics):
        raise errors.NotRun(BLIND)
    return draws.drawn(contract, reference.statistics, samples, settings["seed"])


def _episodes(
    contract: dict[str, Any], reference: Reference, settings: dict[str, Any]
) -> tuple[list[Inputs], list[float], str]:
    """Rollouts, their returns, and where they come from; nothing where there is no environment, and why."""
    environment = settings["environment"]
    if not environment["id"] or settings["file"]:
        return [], [], ""
    needed = contracts.acting(contract)

    def answer(inputs: Inputs) -> Inputs:
        return reference.outputs(inputs, needed)

    try:
        seen, returns = rollouts.episodes(environment, contract, answer, settings["episodes"], settings["seed"])
    except (errors.EnvironmentMissing, errors.EnvironmentUnfit) as error:
        if not environment["optional"]:
            raise
        print(f"{error}")
        return [], [], f"{environment['id']} is not here"
    return seen, returns, f"{len(seen)} episodes of {environment['id']} from seed {settings['seed']}"


def _draws(reference: Reference, rows: Inputs, samples: int, seed: int) -> Inputs:
    """What SB3's ``predict(deterministic=False)`` draws at a few rows: ``rows`` and ``actions`` [rows, draws, ...]."""
    import numpy as np
    import torch

    torch.manual_seed(seed)
    chosen = np.linspace(0, samples - 1, DRAWN_ROWS).round().astype(int)
    found = []
    owner = getattr(reference.policy, "actor", reference.policy)
    for row in chosen:
        repeated = {name: np.repeat(values[row : row + 1], AT_ONCE, axis=0) for name, values in rows.items()}
        drawn = []
        for _ in range(DRAWS // AT_ONCE):
            if getattr(owner, "use_sde", False):
                owner.reset_noise(AT_ONCE)  # gSDE keeps a matrix for some steps: each draw has its own here
            drawn.append(reference.predict(repeated, deterministic=False)[0])
        found.append(np.concatenate(drawn))
    return {"rows": chosen, "actions": np.stack(found)}

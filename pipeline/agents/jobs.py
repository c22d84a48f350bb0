"""The jobs of the torch toolchain that are no hop: read, train, observe, evaluate."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.agents import archive, modules, rollouts
from pipeline.agents.reference import Reference

if TYPE_CHECKING:
    import numpy as np

ZIP, PKL = "agent.zip", "vecnormalize.pkl"
GOLDEN = 8


def open_agent(folder: Path) -> Reference:
    """The agent of an ``sb3`` artifact."""
    pkl = folder / PKL
    return _open(folder / ZIP, pkl if pkl.is_file() else None)


def _open(zip_path: Path, pkl: Path | None) -> Reference:
    opened = archive.read(zip_path)
    statistics = archive.statistics(pkl, opened.observation_space) if pkl else None
    try:
        return Reference(opened, statistics)
    except errors.SlipwayError as error:
        raise error.at(file=zip_path) from None


def read(target: Path, settings: dict[str, Any]) -> None:
    """``sb3`` artifact: the archive, its statistics, and the contract that they imply.

    :param settings: ``agent``, ``zip``, ``vecnormalize`` (or "none"), ``algorithm`` (or ""), ``outputs``
    """
    zip_path = Path(settings["zip"])
    pkl = None if settings["vecnormalize"] == "none" else Path(settings["vecnormalize"])
    reference = _open(zip_path, pkl)
    opened = reference.archive
    shutil.copyfile(zip_path, target / ZIP)
    if pkl:
        shutil.copyfile(pkl, target / PKL)
    wanted = settings["algorithm"]
    if wanted and wanted.upper() != opened.algorithm.upper():
        raise errors.UnknownAlgorithm(
            "the config and the archive differ in their algorithm", expected=wanted, found=opened.algorithm
        )
    parts = reference.parts
    extras = _extras(settings["outputs"], parts.decision, parts.extras, opened.algorithm)
    names = ["action", parts.decision, *extras]
    shape = opened.observation_space["shape"]
    sample = reference.outputs({"observation": _zeros(opened.observation_space)}, names)
    contract = {
        "slipway": contracts.VERSION,
        "agent": settings["agent"],
        "kind": "sb3",
        "part": "policy",
        "algorithm": opened.algorithm,
        "policy_class": opened.policy_class,
        "stable_baselines3": opened.version,
        "source": {name: _sha256(target / name) for name in (ZIP, PKL) if (target / name).is_file()},
        "parameters": modules.parameters(parts),
        "observation_space": opened.observation_space,
        "action_space": opened.action_space,
        "prologue": parts.prologue,
        "epilogue": parts.epilogue,
        "decision": parts.decision,
        "inputs": [{"name": "observation", "shape": ["batch", *shape], "dtype": "float32", "layout": "batch first"}],
        "outputs": [
            {
                "name": name,
                "shape": ["batch", *values.shape[1:]],
                # predict answers in the action space's own float; the network, and so every artifact, in float32
                "dtype": "float32" if values.dtype.kind == "f" else str(values.dtype),
            }
            for name, values in sample.items()
        ],
    }
    contracts.dump(contract, target)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _zeros(space: dict[str, Any]) -> np.ndarray:
    import numpy as np

    return np.zeros((2, *space["shape"]), space["dtype"])


def _extras(wanted: list[str], decision: str, available: dict[str, Any], algorithm: str) -> list[str]:
    for name in wanted:
        if name not in available and name != decision:
            raise errors.ConfigWrongValue(
                f"outputs has '{name}', which this {algorithm} agent does not have",
                expected=", ".join([decision, *available]),
            )
    return sorted(set(wanted) - {decision})


def observe(source: Path, target: Path, settings: dict[str, Any]) -> None:
    """Observations and what the reference answers to them.

    Writes ``observations.npz``, ``reference.npz`` and ``about.json``, which says where they come from.

    :param source: the ``sb3`` artifact
    :param settings: ``environment``, and ``episodes``, ``samples``, ``edges`` (0 for calibration), ``seed``
    """
    import numpy as np

    contract = contracts.load(source)
    reference = open_agent(source)
    if settings["environment"]["id"]:
        seen, returns = rollouts.episodes(
            settings["environment"], contract, reference.predict, settings["episodes"], settings["seed"]
        )
        observation = rollouts.spread(seen, settings["samples"])
        origin = f"{len(seen)} episodes of {settings['environment']['id']} from seed {settings['seed']}"
    else:
        pkl = source / PKL
        moments = archive.statistics(pkl, reference.archive.observation_space) if pkl.is_file() else None
        observation, origin = rollouts.drawn(contract, moments, settings["samples"], settings["seed"])
        returns = []
    count = len(observation)
    if settings["edges"]:
        further = rollouts.edges(contract, observation, settings["edges"], settings["seed"])
        observation = np.concatenate([observation, further])
    names = [output["name"] for output in contract["outputs"]]
    if contract["action_space"]["type"] == "Discrete":
        names.append("preferences")
    answered = reference.outputs({"observation": observation}, names)
    stored = observation.astype(np.float32)
    rows = np.linspace(0, count - 1, min(GOLDEN, count)).round().astype(int)
    golden = reference.outputs({"observation": stored[rows]}, names)
    np.savez(target / "observations.npz", observation=stored)
    np.savez(target / "reference.npz", **answered)  # type: ignore[arg-type]
    about = {
        "origin": origin,
        "rollouts": bool(returns),
        "samples": count,
        "edges": len(observation) - count,
        "returns": returns,
        # A few observations with their answers, for anyone who loads an artifact to check it by.
        "golden": {
            "inputs": {"observation": stored[rows].tolist()},
            "outputs": {name: values.tolist() for name, values in golden.items()},
        },
    }
    (target / "about.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def evaluate(source: Path, target: Path, policy: Any, settings: dict[str, Any]) -> None:
    """Closed loop: the same seeded episodes by the source, by the artifact, and at random -> ``episodes.json``.

    :param source: the ``sb3`` artifact
    :param policy: the artifact, [batch, ...] observations -> [batch, ...] actions
    :param settings: ``environment``, ``episodes``, ``seed``
    """
    contract = contracts.load(source)
    reference = open_agent(source)
    actors = {"source": reference.predict, "artifact": policy, "random": None}
    returns = {
        name: rollouts.episodes(settings["environment"], contract, actor, settings["episodes"], settings["seed"])[1]
        for name, actor in actors.items()
    }
    (target / "episodes.json").write_text(json.dumps(returns, indent=1, sort_keys=True) + "\n", encoding="utf-8")

"""Closed loop: the agent, a random policy and artifacts act in the same seeded episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import errors, gate
from pipeline.agents import environments, jobs, rollouts

AT_RANDOM = 30  # episodes: only their mean counts, as the zero of the scale
Returns = dict[str, list[float]]


def play(source: Path, target: Path, settings: dict[str, Any]) -> None:
    """The agent and a random policy act -> ``returns.json``, once for all artifacts.

    It holds their ``returns`` by the seed of the first episode, the environment's ``reward_threshold``, and, where that
    is optional and cannot be made here, why it is ``absent``.

    :param source: the ``sb3`` artifact
    :param settings: ``environment``, and ``episodes``: how many, by the seed of the first one
    """
    environment = settings["environment"]
    found: dict[str, Any] = {"absent": "", "returns": {}, "reward_threshold": None}
    try:
        found["reward_threshold"] = environments.reward_threshold(environment)
        for seed, count in settings["episodes"].items():
            found["returns"][seed] = _beside({"source": [], "random": []}, source, environment, count, int(seed))
    except (errors.EnvironmentMissing, errors.EnvironmentUnfit) as error:
        if not environment["optional"]:
            raise
        found = {"absent": str(error), "returns": {}, "reward_threshold": None}
    (target / gate.PLAYED).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _beside(held: Returns, source: Path, environment: dict[str, Any], count: int, seed: int) -> Returns:
    """Returns of the agent and of a random policy in ``count`` episodes, those that are held among them."""
    counts = {"source": count, "random": min(count, AT_RANDOM)}
    if all(len(held[name]) >= wanted for name, wanted in counts.items()):
        return {name: held[name][:wanted] for name, wanted in counts.items()}
    contract = contracts.load(source)
    reference, needed = jobs.open_agent(source), contracts.acting(contract)
    actors = {"source": lambda inputs: reference.outputs(inputs, needed), "random": None}
    found = {}
    for name, wanted in counts.items():
        done = len(held[name])
        found[name] = held[name][:wanted]
        if done < wanted:
            found[name] += rollouts.episodes(environment, contract, actors[name], wanted - done, seed + done)[1]
    return found


def evaluate(source: Path, target: Path, answer: rollouts.Answer, settings: dict[str, Any]) -> None:
    """The artifact acts beside them -> ``episodes.json``: returns of source, artifact and random policy.

    In as many episodes as it takes until :mod:`pipeline.gate` is settled. Where the environment is absent there is no
    file.

    :param source: the ``sb3`` artifact
    :param answer: the artifact's: inputs [batch, ...] by name -> outputs by name
    :param settings: ``environment``, ``episodes``, ``most``, ``seed``, ``return_kept``; ``returns``: what :func:`play`
        wrote
    """
    played = json.loads(Path(settings["returns"]).read_text(encoding="utf-8"))
    if played["absent"]:
        print(f"no closed loop: {played['absent']}")
        return
    contract, environment, seed = contracts.load(source), settings["environment"], settings["seed"]
    beside, count = played["returns"][str(seed)], settings["episodes"]
    artifact: list[float] = []
    while True:
        done = len(artifact)
        artifact += rollouts.episodes(environment, contract, answer, count - done, seed + done)[1]
        beside = _beside(beside, source, environment, max(count, len(beside["source"])), seed)
        returns = {name: values[:count] for name, values in beside.items()} | {"artifact": artifact}
        settled = gate.figures(returns, played["reward_threshold"], settings["return_kept"])["settled"]
        if settled or count >= settings["most"]:
            break
        count = min(2 * count, settings["most"])
    found = {"returns": returns, "reward_threshold": played["reward_threshold"]}
    (target / gate.EPISODES).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")

"""Closed loops of the benchmark: every method's artifact in the same seeded episodes. Runs in the torch toolchain.

The seeds are none of those that an agent was calibrated, checked or judged on when it was built.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import deciding, errors, gate, toolchains
from pipeline.agents import environments, jobs, rollouts

if TYPE_CHECKING:
    from benchmarks.measuring import Job

SEED = 4_000_000


def offered(job: Job) -> dict[str, Any]:
    """``reason`` why gymnasium has no such environment here, "" where it has; and ``steps`` of its episodes at most."""
    if not job["environment"]["id"]:
        return {"reason": "no environment is known", "steps": 0}
    try:
        env = environments.make(job["environment"])
    except (errors.EnvironmentMissing, errors.EnvironmentUnfit) as error:
        return {"reason": error.what, "steps": 0}
    env.close()
    return {"reason": "", "steps": (env.spec and env.spec.max_episode_steps) or rollouts.MAX_STEPS}


def play(job: Job) -> dict[str, Any]:
    """Returns of the source, of every method's artifact, and of the random policy.

    :param job: ``home``, the agent's artifacts; ``environment``; ``episodes``, ``most`` and ``return_kept`` as
        :class:`pipeline.settings.Bound` has them; ``methods``, by name the file of the job that answers;
        ``fully``, methods that act in ``most`` episodes whatever the first of them say
    :return: by method what :mod:`pipeline.gate` takes: ``returns`` of "source", "artifact" and "random", and
        ``reward_threshold``
    """
    source = Path(job["home"]) / "sb3"
    contract, reference = contracts.load(source), jobs.open_agent(source)
    needed = contracts.acting(contract)
    beside: dict[str, Any] = {"source": lambda inputs: reference.outputs(inputs, needed), "random": None}
    known: dict[str, list[float]] = {name: [] for name in beside}
    threshold = environments.reward_threshold(job["environment"])
    dtypes = {entry["name"]: entry["dtype"] for entry in contract["takes"]}

    def acted(answer: rollouts.Answer | None, count: int, first: int) -> list[float]:
        return rollouts.episodes(job["environment"], contract, answer, count, SEED + first)[1]

    def settled(answer: rollouts.Answer, first: int) -> dict[str, list[float]]:
        """As many episodes as the gate would take; those of source and random policy are played once."""
        returns: list[float] = []
        more = first
        while more:
            returns += acted(answer, more, len(returns))
            for name, actor in beside.items():
                missing = max(0, len(returns) - len(known[name]))
                known[name] += acted(actor, missing, len(known[name])) if missing else []
            held = {name: values[: len(returns)] for name, values in known.items()} | {"artifact": returns}
            decided = gate.figures(held, threshold, job["return_kept"])["settled"]
            more = 0 if decided else min(len(returns), max(0, job["most"] - len(returns)))
        return held

    found = {}
    for method, path in job["methods"].items():
        command = [toolchains.python("device"), "-m", "pipeline.worker", path]
        address = json.loads(Path(path).read_text(encoding="utf-8"))["socket"]
        # as the gate itself lets an artifact act
        with subprocess.Popen(command, env=toolchains.environment()), deciding.asking(address, dtypes) as answer:
            first = job["most"] if method in job["fully"] else job["episodes"]
            found[method] = {"returns": settled(answer, first), "reward_threshold": threshold}
    return found

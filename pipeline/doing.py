"""What jobs do inside a toolchain, by the name under ``do``."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import deciding


def convert(job: dict[str, Any]) -> None:
    """Run a hop: ``source`` -> ``target``, and write the target's contract."""
    source, target = Path(job["source"]), Path(job["target"])
    contract = contracts.load(source)
    contract["kind"] = job["kind"]
    contract["tools"] = {**contract.get("tools", {}), **job["tools"]}
    if job["golden"]:
        contract["golden"] = json.loads(Path(job["golden"]).read_text(encoding="utf-8"))["golden"]
    hop = importlib.import_module(f"pipeline.hops.{job['module']}")
    hop.convert(source, target, contract, job["settings"])
    contracts.dump(contract, target)


def run(job: dict[str, Any]) -> None:
    """Run an artifact on stored observations -> ``outputs.npz``; ``figures.json`` if its runtime measures any."""
    import numpy as np

    artifact = Path(job["source"])
    contract = contracts.load(artifact)
    answer = _load(job, contract)
    observations = contracts.read_inputs(contract, Path(job["observations"]))
    if contract["states"]:
        outputs, _ = contracts.follow(contract, lambda given: contracts.decide(contract, answer, given), observations)
    else:
        outputs = contracts.decide(contract, answer, observations)
    np.savez(Path(job["target"]) / "outputs.npz", **outputs)  # type: ignore[arg-type]
    if figures := getattr(answer, "figures", None):
        (Path(job["target"]) / "figures.json").write_text(json.dumps(figures, sort_keys=True), encoding="utf-8")


def evaluate(job: dict[str, Any]) -> None:
    """Closed-loop episodes; the artifact answers from a job of its own toolchain, :func:`decide`."""
    evaluating = importlib.import_module("pipeline.agents.evaluating")
    contract = contracts.load(Path(job["source"]))
    with deciding.asking(job["socket"], {entry["name"]: entry["dtype"] for entry in contract["takes"]}) as answer:
        evaluating.evaluate(Path(job["source"]), Path(job["target"]), answer, job["settings"])


def decide(job: dict[str, Any]) -> None:
    """The other side of :func:`evaluate`: load an artifact, and answer until nobody asks."""
    contract = contracts.load(Path(job["source"]))
    run = _load(job, contract)
    needed = contracts.acting(contract)

    def answer(inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = contracts.decide(contract, run, inputs)
        return {name: outputs[name] for name in needed}

    deciding.serve(job["socket"], answer)


def of_agent(job: dict[str, Any]) -> None:
    """A job about an agent: (``source``,) ``target`` and ``settings`` go to its function.

    It is named and not imported, so that the code of one job is not in the fingerprint of another.
    """
    module, _, function = AGENT_JOBS[job["do"]].partition(":")
    folders = [Path(job[name]) for name in ("source", "target") if name in job]
    getattr(importlib.import_module(f"pipeline.{module}"), function)(*folders, job["settings"])


AGENT_JOBS = {
    "fetch": "agents.hub:fetch",
    "read": "agents.jobs:read",
    "train": "agents.training:train",
    "observe": "agents.observing:observe",
    "play": "agents.evaluating:play",
    "document": "agents.documented:export",
    "document_answer": "agents.documented:answer",
    "draw": "agents.pictures:draw",
    "pack": "bundles.packing:pack",
}
JOBS = {
    "convert": convert,
    "run": run,
    "evaluate": evaluate,
    "decide": decide,
    **dict.fromkeys(AGENT_JOBS, of_agent),
}


def _load(job: dict[str, Any], contract: dict[str, Any]) -> contracts.Run:
    runtime = importlib.import_module(f"pipeline.runtimes.{job['runtime']}")
    answer: contracts.Run = runtime.load(Path(job["source"]), contract, job["needs"])
    return answer

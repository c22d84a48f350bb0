"""The steps of the baseline: what SB3's own export guide makes of the agent. They never fail an agent."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from pipeline import errors, fingerprint, stored
from pipeline.agents.documented import ANSWERS, EXPORTS, LOADS, write
from pipeline.spec import Agent
from pipeline.steps import making
from pipeline.steps.making import Step
from pipeline.steps.of_agent import OBSERVATIONS, SOURCE

DOCUMENTED, RUNTIME = "documented", "onnxruntime"
EXPORT, ANSWER = f"{DOCUMENTED}:export", f"{DOCUMENTED}:{RUNTIME}"
LONGEST = 120  # seconds: an export takes two, and what an archive executes when it is loaded may never end


def steps(agent: Agent, home: Path) -> list[Step]:
    """Both steps. Only archives that Slipway itself could read get here: a refused one is never executed."""
    return [export(agent, home), answer(agent, home)]


def export(agent: Agent, home: Path) -> Step:
    """sb3 -> ``documented/``: loaded and exported as the guide says."""
    source, seen = home / SOURCE, home / OBSERVATIONS

    def key() -> dict[str, Any]:
        code = fingerprint.code("pipeline.agents.documented")
        return making.key_of(agent, "torch", code, {}, source=making.files(source), observations=making.files(seen))

    def make(staged: Path, log: Path) -> None:
        def attempt(as_written: bool) -> str:
            settings = {"as_written": as_written, "observations": seen}
            job = {"do": "document", "source": source, "target": staged, "settings": settings}
            return _attempt(agent, "torch", job, log)

        died = attempt(as_written=True)
        if not (staged / LOADS).is_file():
            write(staged / LOADS, {"loads": died})
        if not (staged / EXPORTS).is_file():
            died = attempt(as_written=False)
        if not (staged / EXPORTS).is_file():
            (staged / "policy.onnx").unlink(missing_ok=True)
            write(staged / EXPORTS, {"policy": "rebuilt", "exporters": {"default": died}})

    return making.folder_step(
        agent,
        home,
        home / DOCUMENTED,
        EXPORT,
        "load (executing the archive's pickles) and export as SB3's guide says",
        after=(OBSERVATIONS,),
        needs=("torch",),
        key=key,
        make=make,
        cached=False,  # it may have been stopped by the clock
    )


def answer(agent: Agent, home: Path) -> Step:
    """``documented/`` -> ``documented/onnxruntime/``: what the exported file answers, held to predict."""
    source, seen = home / DOCUMENTED, home / OBSERVATIONS
    settings = dataclasses.asdict(agent.tolerance)

    def key() -> dict[str, Any]:
        code = fingerprint.code("pipeline.agents.documented")
        inputs = {"source": making.files(source), "observations": making.files(seen)}
        return making.key_of(agent, "device", code, settings, **inputs)

    def make(staged: Path, log: Path) -> None:
        if not (source / "policy.onnx").is_file() or not (source / "wrapper.npz").is_file():
            raise errors.NotRun("nothing was exported")
        given = {**settings, "observations": seen}
        job = {"do": "document_answer", "source": source, "target": staged, "settings": given}
        died = _attempt(agent, "device", job, log)
        if died:
            write(staged / ANSWERS, {"runs": died})

    return making.folder_step(
        agent,
        home,
        source / RUNTIME,
        ANSWER,
        "run the documented export in onnxruntime, and hold its first output to predict",
        after=(EXPORT,),
        needs=("device",),
        key=key,
        make=make,
        cached=False,  # it may have been stopped by the clock
    )


def _attempt(agent: Agent, toolchain: str, job: dict[str, Any], log: Path) -> str:
    """Do a job; how it died, if it did: that is a finding too."""
    hurried = dataclasses.replace(agent, timeout=min(agent.timeout, LONGEST))
    try:
        making.job(hurried, toolchain, job, log)
    except (errors.ConverterFailed, errors.JobTimedOut) as error:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{error}\n")
        return type(error).__name__
    return ""


def found(home: Path) -> dict[str, Any]:
    """What the two steps found, by name; {} where they have not run."""
    held: dict[str, Any] = {}
    for path in (home / DOCUMENTED / LOADS, home / DOCUMENTED / EXPORTS, home / DOCUMENTED / RUNTIME / ANSWERS):
        with contextlib.suppress(OSError, ValueError):
            held |= stored.mapping(path)
    return held

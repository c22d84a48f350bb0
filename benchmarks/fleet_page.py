"""``docs/benchmarks/fleet.md``, from the figures that :mod:`benchmarks.fleet` measured."""

from __future__ import annotations

from typing import Any

from benchmarks.logs import KINDS
from benchmarks.measuring import Goal, Job, goals_page, table
from pipeline.hops import KINDS as BUILT

PAGE = """# What a fleet costs

Made by `./doit bench:fleet`: one `./doit -n {at_once}` takes {agents} agents ({origin}) from their archives through
every target with every check, in fresh artifacts, nothing running before.

{goals}

![CPU by what it was for](fleet.svg)

| | wall | CPU | per agent: wall | CPU |
| --- | --- | --- | --- | --- |
{totals}

- **./doit** ends with {verdicts} from rollouts, closed loops and every runtime; warm starts of the toolchains are in
  it.
- **Out of a full cache** is the same command once more in fresh artifacts: {ran} steps run, {taken} taken.
- **The floor** is the chain's own conversions, one after the other in one warm process a toolchain, everything imported
  and each kind of conversion done once before: no orchestration, nothing run, no check.
- **The recipe** is [SB3's export guide](https://stable-baselines3.readthedocs.io/en/master/guide/export.html) as
  scripts: ONNX (opset 14), onnx-tf, TFLite float and int8, `tensorflowjs_converter`, `torch.jit.trace`; a fresh process
  each, one after the other, no check at all. Slipway's loader opens the archives and the older exporter is taken at
  once, or it would fail on most. All its scripts work for {followed} of {agents} agents; figures are means over those.
  It takes {slower:.1f} times the CPU of the floor, so that no chain of these conversions can be much faster than that.
  {reasons}

## What holds it

{shares}

CPU of jobs is what the kernel counted for each of their processes; checks run inside doit's process, and were timed
once more alone. A closed loop's CPU is that of the environment and the source in one process and of the artifact in
another.

## By hop

CPU seconds per agent. *floor* is the conversion in the floor.

{hops}

## By agent

CPU seconds of the jobs.

{per_agent}

Peak memory is the sum of what all processes of the run held at once, what they share counted once (`Pss`), looked at
three times a second; the largest job alone had {largest} MiB resident.

Measured on {machine}; `fleet.json` holds all figures and versions.
"""


def page(result: Job) -> str:
    """The page as Markdown."""
    machine, count = result["machine"], result["agents"]
    verdicts = ", ".join(f"{number} verdicts {status}" for status, number in sorted(result["verdicts"].items()))
    return PAGE.format(
        at_once=result["run"]["at_once"],
        agents=count,
        origin=result["agents_of"],
        goals=goals_page([Goal(**goal) for goal in result["goals"]]),
        totals=totals(result),
        verdicts=verdicts.replace("not_run", "not run") or "no verdict",
        ran=result["cached"]["ran"],
        taken=f"{result['cached']['taken']:,}",
        followed=result["recipe"]["agents"],
        slower=result["recipe"]["cpu"] * count / result["floor_cpu"],
        reasons=_reasons(result["recipes"]),
        shares=_shares(result["shares"], result["run"]["cpu"], count),
        hops=_hops(result["per_hop"], count),
        per_agent=_agents(result["per_agent"], result["recipes"]),
        largest=result["largest_job"],
        machine=f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
    )


def totals(result: Job) -> str:
    """A line each for ours, the floor and the recipe."""
    count, run, base = result["agents"], result["run"], result["recipe"]
    rows = [
        ("`./doit`", run["seconds"], run["cpu"]),
        ("`./doit`, out of a full cache", result["cached"]["seconds"], None),
        ("the floor", None, result["floor_cpu"]),
    ]
    if base["agents"]:
        rows.append(("the recipe, for as many agents", base["seconds"] * count, base["cpu"] * count))
    lines = []
    for what, seconds, cpu in rows:
        wall, spent = (("", "") if t is None else (f"{t:.0f} s", f"{t / count:.2g} s") for t in (seconds, cpu))
        lines.append(f"| {what} | {wall[0]} | {spent[0]} | {wall[1]} | {spent[1]} |")
    return "\n".join(lines)


def _reasons(recipes: dict[str, Any]) -> str:
    """Why it cannot be followed to its end for the others."""
    counts: dict[str, int] = {}
    for steps in recipes.values():
        first = next((f"{name}: {step['reason']}" for name, step in steps.items() if step["reason"]), "")
        if first:
            counts[first] = counts.get(first, 0) + 1
    said = "; ".join(f"{count} × `{reason[:120]}`" for reason, count in sorted(counts.items(), key=lambda one: -one[1]))
    return f"The others: {said}." if said else ""


def _shares(shares: dict[str, Any], whole: float, agents: int) -> str:
    rows = [
        [
            what,
            str(held["count"] or ""),
            f"{held['cpu']:.1f}",
            f"{held['cpu'] / whole:.0%}",
            f"{held['cpu'] / agents:.2f}",
        ]
        for what, held in sorted(shares.items(), key=lambda one: -one[1]["cpu"])
        if held["count"] or abs(held["cpu"]) >= 0.05
    ]
    rows.append(["all", "", f"{whole:.1f}", "100%", f"{whole / agents:.2f}"])
    return table(["what for", "how many", "CPU, s", "share", "per agent, s"], rows)


def _hops(hops: dict[str, Any], agents: int) -> str:
    columns = ("read", "observe", "play", "convert", "floor", "run", "evaluate", "check", "draw")
    rows = []
    order = {name: place for place, name in enumerate(("sb3", "observations", "calibration", "returns", *BUILT))}
    for hop, held in sorted(hops.items(), key=lambda one: order.get(one[0], len(order))):
        if max(held.values()) / agents < 0.005:
            continue
        cells = [f"{held[column] / agents:.2f}" if column in held else "" for column in columns]
        rows.append([f"`{hop}`", *cells])
    names = {"evaluate": "closed loop", "play": "returns", "draw": "pictures"}
    return table(["", *(names.get(column, column) for column in columns)], rows)


def _agents(agents: dict[str, Any], recipes: dict[str, Any]) -> str:
    rows = []
    for agent, held in agents.items():
        cells = [f"{held.get(do, 0.0):.1f}" for do in KINDS]
        base = recipes.get(agent, {})
        cpu = sum(step["cpu"] for step in base.values())
        failed = any(step["reason"] for step in base.values())
        rows.append([f"`{agent}`", *cells, f"{sum(held.values()):.1f}", f"{cpu:.1f}{', not to its end' * failed}"])
    return table(["agent", *KINDS, "all", "the recipe"], rows)

"""``docs/benchmarks/deciding.md``, from the figures that :mod:`benchmarks.deciding` measured."""

from __future__ import annotations

from typing import Any

from benchmarks.measuring import Goal, Job, goals_page, table

PAGE = """# How long a decision takes in every runtime

Made by `./doit bench:deciding`: the shipped examples, built by `./doit`, each artifact in one thread of a process of
its own and called as leanly as its runtime allows: observations lie ready in the form that it takes, and the action is
read out of every answer.

{goals}

![Time for one decision by runtime](deciding.svg)

Microseconds for one decision about one observation: p50, and p99 behind it. *times* is the p50 of SB3's
`predict(deterministic=True)` by the method's, in brackets the least and the most of any round. Processes took turns in
{rounds} rounds of slices of {slice:.0f} ms, predict in each, so ratios mean something; the figures themselves are this
machine's. **SB3's predict** is given observations that are normalized already; every artifact normalizes itself.
*Start* is from a fresh process to its first decision (median of {starts}; files in the system's cache). *As predict*
holds the method's actions to predict's on {rows} observations: equal decisions, or the largest error as a share of the
range; integers are judged by the return that they keep, in `./doit` and in [quantization.md](quantization.md). The last
three columns are thousands of observations a second, by batch; a TFLite file holds batch 1, and decides about more of
them one after the other.

{agents}

TensorFlow.js runs on its plain JavaScript backend here, TensorFlow Lite Micro on its portable reference kernels: what
they are made for, a browser's GPU and a microcontroller, is not here.

Measured on {machine}; `deciding.json` holds all figures and versions.
"""


def page(result: Job) -> str:
    """The page as Markdown."""
    machine = result["machine"]
    parts = [f"## {agent}\n\n{_methods(held, result['methods'])}" for agent, held in result["agents"].items()]
    return PAGE.format(
        goals=goals_page([Goal(**goal) for goal in result["goals"]]),
        rounds=result["rounds"],
        slice=1000 * result["slice"],
        starts=result["starts"],
        rows=256,
        agents="\n\n".join(parts),
        machine=f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
    )


def _methods(held: dict[str, Any], methods: dict[str, Any]) -> str:
    """A row for each method."""
    rows = []
    for name, told in methods.items():
        found = held.get(name)
        if found is None:
            continue
        if "batches" not in found:
            rows.append([told["says"], f"not run: {found['reason']}", *[""] * 8])
            continue
        one = found["batches"]["1"]
        low, high = one["faster_in_rounds"]
        times = "1" if name == "sb3" else f"{one['faster']:.1f} ({low:.1f}–{high:.1f})"
        rows.append(
            [
                told["says"],
                number(one["p50"]),
                number(one["p99"]),
                times,
                f"{found['start']:.2f}",
                f"{found['bytes']:,}",
                found["agreement"],
                *(number(found["batches"][batch]["per_second"] / 1e3) for batch in ("1", "8", "256")),
            ]
        )
    head = ["", "p50, µs", "p99, µs", "times", "start, s", "bytes", "as predict", "batch 1, k/s", "8", "256"]
    return table(head, rows)


def number(value: float) -> str:
    """Three digits of it, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"

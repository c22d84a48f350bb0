"""The pictures of what is fast, from the benchmarks' JSON, in the style of :mod:`benchmarks.pictures`.

Each takes ``folder``, of the benchmark's JSON, and answers why nothing is drawn; "" where it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pictures import GREEN, ORANGE, WIDTH, _legend
from pipeline import errors
from pipeline.agents import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.measuring import Job

MARKS: tuple[dict[str, Any], ...] = (
    {"color": plots.BLUE, "marker": "D"},
    {"color": plots.VERMILION, "marker": "o"},
    {"color": GREEN, "marker": "^"},
    {"color": ORANGE, "marker": "s"},
)


def _drawn(job: Job, name: str, title: str, height: float, fill: Callable[[Figure, Any], None]) -> str:
    """A figure of this name, filled and saved."""
    folder = Path(job["folder"])
    told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    try:
        with plots.ready():
            from matplotlib.figure import Figure

            figure = Figure(figsize=(WIDTH, height), layout="constrained")
            figure.suptitle(title, x=0.012, ha="left", weight="bold")
            fill(figure, told)
            plots.save(figure, folder, name)
    except errors.NotRun as absent:
        return absent.what
    return ""


def deciding(job: Job) -> str:
    """A row for each runtime, a mark for each agent: p50, and a line up to p99."""

    def fill(figure: Figure, told: Any) -> None:
        axes = figure.subplots()
        shown = [name for name in told["methods"] if any("batches" in m.get(name, {}) for m in told["agents"].values())]
        looks = {}
        for lane, (agent, methods) in enumerate(told["agents"].items()):
            look = looks[agent] = MARKS[lane]
            for row, name in enumerate(shown):
                if "batches" not in methods.get(name, {}):
                    continue
                one = methods[name]["batches"]["1"]
                at = row + (lane - (len(told["agents"]) - 1) / 2) * 0.3
                axes.plot([one["p50"], one["p99"]], [at] * 2, color=look["color"], linewidth=1.2, alpha=0.5)
                axes.plot([one["p50"]], [at], linestyle="", markersize=5, **look)
        axes.set(xscale="log", ylim=(len(shown) - 0.5, -0.5), xlabel="microseconds: p50, line to p99")
        axes.set_yticks(range(len(shown)), [told["methods"][name]["says"] for name in shown])
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(axis="x", color=plots.PALE, linewidth=0.5)
        _legend(figure, looks)

    return _drawn(job, "deciding", "Time for one decision about one observation, one thread", 4.4, fill)


def fleet(job: Job) -> str:
    """CPU per agent as one bar each of ours, the floor and the recipe; ours by what it was for."""

    def fill(figure: Figure, told: Any) -> None:
        from matplotlib.patches import Patch

        axes, count, looks = figure.subplots(), told["agents"], {}
        groups = grouped(told["shares"])
        colours = (plots.BLUE, GREEN, ORANGE, plots.VERMILION, plots.GREY, plots.INK, plots.PALE)
        begun = 0.0
        for (what, cpu), colour in zip(groups.items(), colours, strict=False):
            axes.barh(0, cpu / count, left=begun, color=colour, height=0.6)
            begun += cpu / count
            looks[what] = Patch(color=colour)
        axes.barh(1, told["floor_cpu"] / count, color=plots.BLUE, height=0.6)
        axes.barh(2, told["recipe"]["cpu"], color=plots.PALE, height=0.6, edgecolor=plots.INK, hatch="//")
        axes.set_yticks(
            range(3),
            ["./doit, all of it", "the floor:\nconversions alone", "the documented recipe:\nscripts, no check"],
        )
        axes.set(ylim=(2.6, -0.6), xlabel="seconds of CPU per agent")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=plots.PALE, linewidth=0.5)
        figure.legend(list(looks.values()), list(looks), loc="outside lower left", ncols=2, fontsize=7.5)

    return _drawn(job, "fleet", "What an agent costs", 3.4, fill)


def grouped(shares: dict[str, Any]) -> dict[str, float]:
    """CPU seconds in as few groups as can be told apart in a picture, in a fixed order."""
    names = "convert", "run on the observations", "closed loops", "rollouts, archive", "pictures"
    found = dict.fromkeys((*names, "checks, doit itself", "warm starts, other"), 0.0)
    for what, held in shares.items():
        name = "warm starts, other"
        if what in found:
            name = what
        elif what.startswith("closed loop"):
            name = "closed loops"
        elif what.startswith(("roll out", "read")):
            name = "rollouts, archive"
        elif what in ("checks", "doit itself"):
            name = "checks, doit itself"
        found[name] += max(0.0, held["cpu"])
    return found


def scaling(job: Job) -> str:
    """Wall time over the number of agents: built from nothing, nothing to do, and doit alone."""

    def fill(figure: Figure, told: Any) -> None:
        axes = figure.subplots()
        for lane, (label, rows) in enumerate(told["series"].items()):
            counts = [row["count"] for row in rows]
            lines: dict[str, tuple[str, dict[str, Any], str]] = {
                f"built, {label}": ("seconds", MARKS[lane], "-"),
                f"nothing to do, {label}": ("idle", MARKS[lane], "--"),
            }
            if lane == 0:
                lines["doit alone, as many tasks"] = ("doit_alone", {"color": plots.GREY, "marker": "s"}, ":")
            for says, (key, look, style) in lines.items():
                axes.plot(counts, [row[key] for row in rows], label=says, linestyle=style, markersize=4.5, **look)
        axes.set(xscale="log", yscale="log", xlabel="agents", ylabel="seconds")
        axes.set_xticks(sorted({row["count"] for rows in told["series"].values() for row in rows}))
        axes.set_xticks([], minor=True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(color=plots.PALE, linewidth=0.5)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5, handlelength=3.2)

    return _drawn(job, "scaling", "What more agents cost", 4.4, fill)


def setup(job: Job) -> str:
    """Wall time as bars: our environments and the baseline, from empty and full caches."""

    def fill(figure: Figure, told: Any) -> None:
        axes = figure.subplots()
        says = {"ours": "./doit toolchains", "pip": "pip, one lock"}
        bars = [(f"{says[label]}\n{cache} cache", told[label][cache]["seconds"], label)
                for cache in ("empty", "full") for label in says]  # fmt: skip
        for row, (_, seconds, label) in enumerate(bars):
            axes.barh(row, seconds, height=0.6, color=plots.BLUE if label == "ours" else plots.PALE)
            axes.annotate(f"{seconds:.0f} s", (seconds, row), (3, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(bars)), [what for what, _, _ in bars])
        axes.set(ylim=(len(bars) - 0.4, -0.6), xlabel="seconds")
        axes.margins(x=0.1)
        axes.tick_params(axis="y", length=0)

    return _drawn(job, "setup", "How long the environments take", 2.6, fill)

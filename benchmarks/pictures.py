"""The pictures of the benchmarks, from their JSON, in the style of :mod:`pipeline.agents.plots`. Needs matplotlib."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.measuring import Job

ORANGE, GREEN = "#e69f00", "#009e73"  # Okabe and Ito's, beside those of plots
WIDTH = 6.4  # inches
LOOKS: dict[str, dict[str, Any]] = {
    "ours": {"color": plots.BLUE, "marker": "D"},
    "example": {"color": plots.VERMILION, "marker": "X"},
    "example_space": {"color": plots.VERMILION, "marker": "o"},
    "example_normal": {"color": plots.VERMILION, "marker": "o", "markerfacecolor": "white"},
    "int8_nearest": {"color": ORANGE, "marker": "s"},
    "int16x8_nearest": {"color": GREEN, "marker": "^"},
}
LEAST = -0.1  # of what is kept: what is below is drawn at the edge


def quantization(job: Job) -> str:
    """A row for each agent, a mark for each method.

    :param job: ``folder``, of the benchmark's JSON
    :return: why nothing is drawn; "" where it is
    """
    folder = Path(job["folder"])
    told = json.loads((folder / "quantization.json").read_text(encoding="utf-8"))
    agents, limit = told["agents"], told["episodes"]["return_kept"]
    shown = [name for name in LOOKS if any("kept" in methods.get(name, {}) for methods in agents.values())]
    try:
        with plots.ready():
            from matplotlib.figure import Figure

            figure = Figure(figsize=(WIDTH, 1.7 + 0.56 * len(agents)), layout="constrained")
            axes = figure.subplots()
            figure.suptitle("What integers keep of public agents' return", x=0.012, ha="left", weight="bold")
            for row, methods in enumerate(agents.values()):
                axes.axhspan(row - 0.5, row + 0.5, color=plots.PALE, alpha=0.35 * (row % 2), linewidth=0)
                for lane, name in enumerate(shown):
                    if "kept" in methods.get(name, {}):
                        _mark(axes, row + (lane - (len(shown) - 1) / 2) * 0.17, methods[name], LOOKS[name])
            gate: dict[str, Any] = {**plots.GATE}
            axes.axvline(limit, zorder=0, **gate)
            axes.set(xlim=(LEAST - 0.03, 1.1), ylim=(len(agents) - 0.5, -0.5))
            axes.set_yticks(range(len(agents)), [f"{agent}\n{_of(methods)}" for agent, methods in agents.items()])
            axes.tick_params(axis="y", length=0, labelsize=7.5)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axes.set_xlabel("share of the return that is kept, 95% bootstrap interval")
            _legend(figure, {told["methods"][name]: LOOKS[name] for name in shown} | {f"gate: {limit:.0%}": gate})
            plots.save(figure, folder, "quantization")
    except errors.NotRun as absent:
        return absent.what
    return ""


def _of(methods: dict[str, Any]) -> str:
    ours = methods["ours"]
    return f"{ours['rung']}, {ours['parameters']:,} parameters" if "rung" in ours else "not built"


def _mark(axes: Axes, height: float, held: dict[str, Any], look: dict[str, Any]) -> None:
    """What is kept and its interval; an arrow to the left where that is beyond the axis."""
    low, at, high = (max(held[key], LEAST) for key in ("low", "kept", "high"))
    axes.plot([low, high], [height] * 2, color=look["color"], linewidth=1.4)
    beyond = {"marker": "<"} if held["kept"] < LEAST else {}
    axes.plot([at], [height], linestyle="", markersize=5, markeredgewidth=1, zorder=5, **{**look, **beyond})


def _legend(figure: Any, looks: dict[str, dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], label=says, **({"linestyle": ""} | look)) for says, look in looks.items()]
    figure.legend(handles=lines, loc="outside lower left", ncols=1, fontsize=7.5)


SPEEDS: dict[str, tuple[str, dict[str, Any]]] = {
    "sb3": ("SB3's predict", {"color": plots.INK, "marker": "o"}),
    "float32": ("LiteRT, float32", {"color": ORANGE, "marker": "s"}),
    "int8": ("LiteRT, int8, with its float steps", {"color": plots.BLUE, "marker": "D"}),
    "int8_core": ("LiteRT, int8, the network alone", {"color": GREEN, "marker": "^"}),
    "coral": ("Coral, the network alone", {"color": plots.VERMILION, "marker": "X"}),
}


def coral(job: Job) -> str:
    """Latency over the number of parameters: p50 as marks, up to p99 as bars; as :func:`quantization`."""
    folder = Path(job["folder"])
    told = json.loads((folder / "coral.json").read_text(encoding="utf-8"))
    rows = sorted((row for row in told["networks"] if "latency" in row), key=lambda row: row["parameters"])
    try:
        with plots.ready():
            from matplotlib.figure import Figure

            figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
            axes = figure.subplots()
            figure.suptitle("Time for one decision, one thread", x=0.012, ha="left", weight="bold")
            looks = {}
            for name, (says, look) in SPEEDS.items():
                held = [(row["parameters"], row["latency"][name]) for row in rows if name in row["latency"]]
                if held:
                    looks[says] = look
                    at = [count for count, _ in held]
                    axes.vlines(at, [d["p50"] for _, d in held], [d["p99"] for _, d in held], color=look["color"],
                                alpha=0.5)  # fmt: skip
                    axes.plot(at, [d["p50"] for _, d in held], markersize=4.5, linewidth=0.8, **look)
            full: dict[str, Any] = {"color": plots.GREY, "linestyle": ":", "linewidth": 1.4}
            axes.axvline(told["on_chip_bytes"], **full)
            looks["what an Edge TPU holds on the chip, one byte each"] = full
            axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="milliseconds: p50, bar to p99")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.grid(color=plots.PALE, linewidth=0.5)
            _legend(figure, looks)
            plots.save(figure, folder, "coral")
    except errors.NotRun as absent:
        return absent.what
    return ""

"""How the pictures of the gate look: figures and points in, a matplotlib figure out.

Narrow enough for a phone; the colours are Okabe and Ito's (2008), and none says anything alone: marks differ too, for
greyscale. The same figures give the same bytes: DejaVu as matplotlib ships it, text as outlines, no dates.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors as failures

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Looks = dict[str, dict[str, Any]]  # of the legend's lines, by what they say

FEW = 5  # values of a dimension that are ticks of their own
OLDEST = (3, 7)  # of matplotlib: legends outside of the axes
WIDTH = 5.0  # inches
PAD = 0.04167  # inches, which the layout leaves at the edges
INK, GREY, PALE = "#000000", "#767676", "#d4d4d4"
BLUE, VERMILION = "#0072b2", "#d55e00"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "figure.dpi": 160,
    "legend.frameon": False,
    "lines.solid_capstyle": "butt",
    "svg.fonttype": "path",
    "svg.hashsalt": "slipway",
    "text.parse_math": False,  # a key may hold a dollar
}
GATE = {"color": INK, "linestyle": "--", "linewidth": 1.1}
CAUSES = {  # of a layer's error
    "inherited": ("with its inputs*", INK, "o"),
    "weights": ("its rounded weights*", VERMILION, "s"),
    "steps": ("its rounded answers", BLUE, "^"),
}

OWN = {"weights": "its rounded weights", "steps": "its rounded answers", "cut": "answers beyond its range"}


@contextlib.contextmanager
def ready() -> Iterator[None]:
    """matplotlib in our style: with nothing of the user's settings and fonts, and nothing written to the user's home.

    :raises errors.NotRun: there is none, or one that is too old
    """
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as afterwards:
        os.environ["MPLCONFIGDIR"] = place  # where it keeps what it finds out about fonts
        afterwards.callback(os.environ.pop, "MPLCONFIGDIR")
        try:
            import matplotlib
            from matplotlib import font_manager
        except ImportError:
            raise failures.NotRun("matplotlib is not installed in the interpreter that is to draw") from None
        if matplotlib.__version_info__[:2] < OLDEST:
            raise failures.NotRun(f"matplotlib {matplotlib.__version__} is too old: 3.7 is the oldest that can draw")
        shipped, fonts = Path(matplotlib.get_data_path()), font_manager.fontManager
        fonts.ttflist = [font for font in fonts.ttflist if Path(font.fname).is_relative_to(shipped)]
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            yield


def save(figure: Figure, target: Path, name: str) -> None:
    """``NAME.svg`` and ``NAME.png``, without dates and versions."""
    figure.savefig(target / f"{name}.png", metadata={"Software": None})
    figure.set_layout_engine("none")  # all is in its place
    figure.savefig(target / f"{name}.svg", metadata={"Date": None, "Creator": None})


def returns(settings: Mapping[str, Any], told: Mapping[str, Any], episodes: list[dict[str, list[float]]]) -> Figure:
    """Returns of the random policy, the source and the rungs; below, rungs against the source in the same episode."""
    import numpy as np

    rungs = told["rungs"]
    end = next((rung for rung in rungs if rung["chosen"]), rungs[-1])
    title = f"{settings['agent']} in {settings['environment']['id']}: {end['rung']} keeps {end['kept']:.1%}"
    says = f"of the return, 95% interval {end['low']:.1%} to {end['high']:.1%}, {end['episodes']} paired episodes"
    figure = _figure(title, says, 2.2 + 0.44 * (2 * len(rungs) + 2))
    above, below = figure.subplots(2, 1, height_ratios=[len(rungs) + 2, len(rungs)])
    most = max(episodes, key=lambda found: len(found["source"]))
    _row(above, 0, most["random"], f"random policy, mean {_number(told['random'])}", GREY, "s", told["random"])
    _row(above, 1, most["source"], f"source, as trained, mean {_number(told['source'])}", INK, "o", told["source"])
    above.plot([end["gate"]] * 2, [-0.5, 1.5], **GATE)
    for row, (rung, found) in enumerate(zip(rungs, episodes, strict=True)):
        colour, mark = (VERMILION, "X") if rung["status"] == "failed" else (BLUE, "D")
        spread = [(rung[limit] - rung["kept"]) * rung["scale"] for limit in ("low", "high")]
        says = f"{_judged(rung)}, mean {_number(rung['artifact'])}"
        _row(above, row + 2, found["artifact"], says, colour, mark, rung["artifact"], spread)
        above.plot([rung["gate"]] * 2, [row + 1.5, row + 2.5], **GATE)
        says = f"{rung['rung']} keeps {rung['kept']:.1%} ({rung['low']:.1%} to {rung['high']:.1%})"
        apart = np.subtract(found["artifact"], found["source"])
        _row(below, row, apart, says, colour, mark, (rung["kept"] - 1) * rung["scale"], spread)
        below.plot([(told["return_kept"] - 1) * rung["scale"]] * 2, [row - 0.5, row + 0.5], **GATE)
    below.axvline(0, color=PALE, linewidth=1, zorder=0)
    above.set_xlabel("return of an episode")
    below.set_xlabel("return minus the source's in the same episode")
    for axes, rows in ((above, len(rungs) + 2), (below, len(rungs))):
        axes.set(ylim=(rows - 0.5, -0.5), yticks=[])
        axes.spines["left"].set_visible(False)
    looks: Looks = {f"gate: {told['return_kept']:.0%} of the return kept": GATE}
    looks["mean, 95% bootstrap interval"] = {"color": INK, "marker": "o", "linewidth": 2.2}
    looks["middle half of the episodes"] = {"color": PALE, "linewidth": 7}
    if told["solved_at"] is not None:
        solved: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 1.6}
        above.axvline(told["solved_at"], zorder=0, **solved)
        looks[f"solved from {_number(told['solved_at'])}"] = solved
    _legend(figure, looks)
    return figure


def _row(
    axes: Axes, row: int, values: Any, says: str, colour: str, mark: str, mean: float, spread: Any = (0, 0)
) -> None:
    """One distribution: a point for each episode, at the same height in every row; their middle half; the mean."""
    import numpy as np

    middle = row + 0.16
    heights = middle + 0.4 * ((np.arange(len(values)) * 0.618034) % 1 - 0.5)
    axes.text(0.005, row - 0.3, says, transform=axes.get_yaxis_transform(), va="center", zorder=6,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
    axes.plot(np.quantile(values, [0.25, 0.75]), [middle] * 2, color=colour, alpha=0.25, linewidth=13)
    axes.plot(values, heights, ".", color=colour, markersize=4.5, alpha=0.6, markeredgewidth=0)
    axes.plot([mean + spread[0], mean + spread[1]], [middle] * 2, color=colour, linewidth=2.2, zorder=5)
    axes.plot([mean], [middle], mark, color=colour, markersize=6.5, markeredgecolor="white", zorder=5)


def errors(settings: Mapping[str, Any], told: Mapping[str, Any], points: Any) -> Figure:
    """The error over the dimensions that explain it best: observations, and in bins the median and 10 to 90 %."""
    import numpy as np

    error, differ, values = points
    parts, best = told["strongest"], told["strongest"][0]
    says = f"no dimension explains the error beyond chance ({told['chance']:.1%})"
    if best["share"] > told["chance"]:
        says = f"{best['label']} explains {best['share']:.1%} of the ranked error (chance: {told['chance']:.1%})"
    if told["dimensions"] > len(parts) > 1:
        says += f"; the {len(parts)} strongest of {told['dimensions']} dimensions"
    columns = min(2, len(parts))
    rows = -(-len(parts) // columns)
    chosen = next((rung["rung"] for rung in settings["rungs"] if rung["chosen"]), "the artifact")
    height = 1.2 + rows * {1: 2.0, 2: 1.7, 3: 1.5, 4: 1.5}.get(rows, 1.3) * (1.7 if columns == 1 else 1)
    figure = _figure(f"{settings['agent']}: on what the error of {chosen} depends", says, height)
    grid = figure.subplots(rows, columns, squeeze=False)
    typical = max((max(part["high"]) for part in parts if "high" in part), default=0.0)
    top = max(min(float(error.max()), max(1.4 * typical, float(np.quantile(error, 0.985)))), 1e-9)
    for place, axes in enumerate(grid.flat):
        axes.set_visible(place < len(parts))
        if place < len(parts):
            part = parts[place]
            axes.set_title(_wrapped(f"{part['label']}: {part['share']:.1%}", 4.2 / columns), loc="left")
            if "cell" in part:
                _map(figure, axes, values[place], part["cell"], told["chance"])
            else:
                _course(axes, part, values[place], error, differ, top)
                if told["output"] == "action":
                    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
                axes.tick_params(labelleft=place % columns == 0)
    if any("low" in part for part in parts):
        share = ",\n% of its range" if told["output"] == "action" else ""
        figure.supylabel(f"error of the {told['output'].replace('_', ' ')}{share}", fontsize=8.5)
        looks: Looks = {"median, 10 to 90% of the errors": {"color": BLUE, "linewidth": 2}}
        looks["an observation; ▵ beyond the axes"] = {"color": GREY, "marker": ".", "linestyle": ""}
        if differ is not None:
            crosses = {"color": VERMILION, "marker": "x", "markersize": 4, "linestyle": ""}
            looks[f"decides otherwise: {told['differ']} of {told['observations']}"] = crosses
        _legend(figure, looks)
    return figure


def _course(
    axes: Axes, part: Mapping[str, Any], values: np.ndarray, error: np.ndarray, differ: Any, top: float
) -> None:
    """The error over one dimension. What lies beyond the axes is drawn at their edge, as it would squeeze the rest."""
    import numpy as np

    low, high = (float(end) for end in np.quantile(values, [0.005, 0.995]))
    margin = 0.04 * (high - low) or 0.5
    axes.set(ylim=(0, 1.05 * top), xlim=(low - 2 * margin, high + 2 * margin))
    at, height = np.clip(values, low - margin, high + margin), np.minimum(error, top)
    beyond = (at != values) | (height != error)
    dots: dict[str, Any] = {"color": GREY, "alpha": 0.55, "rasterized": True, "linestyle": ""}
    axes.plot(at[~beyond], height[~beyond], marker=".", markersize=3.2, markeredgewidth=0, **dots)
    axes.plot(at[beyond], height[beyond], marker="^", markersize=3.2, markerfacecolor="none", **dots)
    if differ is not None:
        axes.plot(at[differ], height[differ], "x", color=VERMILION, markersize=3.2, rasterized=True)
    few = len(distinct := np.unique(values)) <= FEW
    if few:
        axes.set_xticks(distinct)
    begins, ends = np.array(part["from"]), np.array(part["to"])
    least = (0.06 if few else 0.008) * (high - low + 2 * margin)  # of one value alone, too, there is something to see
    thin = np.maximum(0, least - (ends - begins)) / 2
    band = np.subtract(part["high"], part["low"])
    axes.bar(begins - thin, band, ends - begins + 2 * thin, part["low"], align="edge", color=BLUE, alpha=0.3)
    axes.hlines(part["median"], begins - thin, ends + thin, color=BLUE, linewidth=2, zorder=5)


def _map(figure: Figure, axes: Axes, cells: np.ndarray, cell: int, chance: float) -> None:
    """An image's measure, in the image's own rows and columns; a line in the scale where chance ends."""
    height, width = (side * cell for side in cells.shape)
    top = max(float(cells.max()), 1.25 * chance, 1e-9)
    shown = axes.imshow(cells, "cividis", vmin=0, vmax=top, extent=(0, width, height, 0), interpolation="nearest")
    axes.set(xlabel="column", ylabel="row")
    scale = figure.colorbar(shown, ax=axes, shrink=0.85, format=lambda value, _: f"{value:.0%}", label="line: chance")
    scale.ax.axhline(chance, color=VERMILION, linewidth=1.6)


def layers(settings: Mapping[str, Any], told: Mapping[str, Any], _: Any) -> Figure:
    """What rounding costs in every layer of the rungs that round, and where that comes from."""
    rungs = told["rungs"]
    count = [len(rung["layers"]) for rung in rungs]
    end = next((rung for rung in rungs if rung["chosen"]), rungs[-1])
    cost, place, cause = max((layer[cause], place, cause) for place, layer in enumerate(end["layers"])
                             for cause in OWN)  # fmt: skip
    says = f"{end['rung']} loses most in layer {place + 1}, {end['layers'][place]['label']}: {OWN[cause]} cost"
    height = 1.75 + sum(0.3 * layers + 0.32 for layers in count)
    figure = _figure(f"{settings['agent']}: what rounding costs in each layer", f"{says} {cost:.1%}", height)
    grid = figure.subplots(len(rungs), 1, squeeze=False, sharex=True, height_ratios=[n + 0.8 for n in count])
    most = max(layer[name] for rung in rungs for layer in rung["layers"] for name in (*CAUSES, "error"))
    grid[0, 0].set_xlim(0, 104 * max(most, 1e-9))
    for axes, rung in zip(grid[:, 0], rungs, strict=True):
        rows = range(len(rung["layers"]))
        axes.set_title(_judged(rung), loc="left")
        axes.barh(rows, [100 * layer["error"] for layer in rung["layers"]], color=PALE, height=0.86)
        for lane, (name, (_, colour, mark)) in enumerate(CAUSES.items()):
            axes.plot([100 * layer[name] for layer in rung["layers"]], [row + 0.24 * (lane - 1) for row in rows], mark,
                      color=colour, markersize=5, markeredgewidth=0, clip_on=False, zorder=5)  # fmt: skip
        axes.set_yticks(rows, [f"{row + 1}  {layer['label'][-24:]}" for row, layer in enumerate(rung["layers"])])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x", color=PALE, linewidth=0.5)
    grid[-1, 0].set_xlabel("RMS error, % of the standard deviation of the layer's answers\n"
                           "(* before its activation; what no mark explains is cut off)")  # fmt: skip
    looks: Looks = {"whole error": {"color": PALE, "linewidth": 7}}
    for what, colour, mark in CAUSES.values():
        looks[what] = {"color": colour, "marker": mark, "linestyle": ""}
    _legend(figure, looks)
    return figure


def _figure(title: str, says: str, height: float) -> Figure:
    """An empty figure with a heading: a bold title, and what the picture says."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    title, says = _wrapped(title, WIDTH - 0.15, weight="bold", size=9), _wrapped(says, WIDTH - 0.15, size=9)
    place: dict[str, Any] = {"x": 0.012, "ha": "left", "va": "top", "fontsize": 9}
    figure.suptitle("\n" * (title.count("\n") + 1) + says, **place)
    figure.text(y=1 - PAD / height, s=title, weight="bold", **place)
    return figure


def _wrapped(text: str, room: float, **font: Any) -> str:
    """The text in lines that fit into ``room`` inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    letters, look = 84, FontProperties(**{"size": STYLE["font.size"], **font})
    while True:
        lines = textwrap.wrap(text, letters)
        if letters < 12 or max(TextPath((0, 0), line, prop=look).get_extents().width for line in lines) <= 72 * room:
            return "\n".join(lines)
        letters -= 4


def _legend(figure: Figure, looks: Looks) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], label=says, **look) for says, look in looks.items()]
    figure.legend(handles=lines, loc="outside lower left", ncols=2, fontsize=8)


def _judged(rung: Mapping[str, Any]) -> str:
    """A rung and what became of it."""
    said = {"passed": "✓ passed", "failed": "✗ failed"}.get(rung["status"], rung["status"])
    chosen = "" if not rung["chosen"] else ", chosen" if rung["status"] == "passed" else ", chosen by waiver"
    return f"{rung['rung']}  {said}{chosen}"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")

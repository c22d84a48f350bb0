"""The page of a night: one HTML file that loads nothing, for light and dark, wide and narrow."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from typing import Any

from pipeline.nightly import plots

FILE, TOLD = "index.html", "index.json"
STATES = {0: "good", 1: "bad", 3: "warn", 4: "warn"}
MARKS = {"passed": "✓", "failed": "✗", "waived": "!", "not_run": "–", "built": ""}
STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #fff; --ink: #1d2126; --faint: #667078; --rule: #dfe1e4;
  --good: #1a7f4b; --warn: #a86400; --bad: #c0322b; --line: #2f6fb3; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1c2024; --ink: #e6e8ea; --faint: #98a2ab;
  --rule: #333a41; --good: #56c98b; --warn: #e0a548; --bad: #f0776f; --line: #74b0ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
.headline { border-left: .35rem solid; padding: .3rem .8rem; margin: .8rem 0; font-size: 1.1rem; background: var(--card); }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .faint { color: var(--faint); }
.facts { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; padding: 0; margin: .5rem 0; list-style: none; }
.facts b { font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: .8rem; }
figure { margin: 0; padding: .5rem .7rem; background: var(--card); border: 1px solid var(--rule); border-radius: .4rem; }
figcaption { font-size: .85rem; color: var(--faint); } figcaption b { color: var(--ink); }
svg { display: block; width: 100%; height: auto; } svg.spark { display: inline-block; width: 72px; height: 18px; }
svg text { font-size: 10px; fill: var(--faint); } .axis { stroke: var(--rule); }
polyline { fill: none; stroke: var(--line); stroke-width: 1.5; } circle { fill: var(--line); }
circle.good { fill: var(--good); } circle.warn { fill: var(--warn); } circle.bad { fill: var(--bad); }
details { background: var(--card); border: 1px solid var(--rule); border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  overflow-wrap: normal; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; } td.says { min-width: 12rem; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; font-size: .82rem; margin: .3rem 0; } ul { padding-left: 1.2rem; }
"""  # noqa: E501 (rules of CSS)


def page(told: dict[str, Any]) -> str:
    """The page.

    :param told: :func:`pipeline.nightly.summary.of`
    """
    state = STATES[told["outcome"]]
    failing = {entry["agent"] for entry in told["failures"]}
    parts = [
        f"<h1>Night of {escape(told['night'])}</h1>",
        f'<p class="headline {state}"><b>{escape(told["headline"])}</b></p>',
        _facts(told),
        _section("What failed", [_failure(entry) for entry in told["failures"]]),
        _section("What changed, by cause", [_group(group) for group in told["changes"]]),
        _section("Warnings", _warnings(told["warnings"])),
        f"<h2>Trends</h2>{_trends(told['trends'])}",
        _section("Agents", [_agent(name, rows, failing) for name, rows in told["agents"].items()]),
        _section("Versions", [_versions(told["versions"])]),
        '<p class="faint">The same as JSON: index.json. Decisions are timed one by one through Slipway\'s runtimes on '
        "a machine that may do other things: noisy, and warned of from twice what is usual.</p>",
    ]
    return document(f"Slipway, night of {told['night']}: {told['headline']}", parts)


def document(title: str, parts: list[str]) -> str:
    """A page of its own."""
    head = f'<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>' \
           f"<title>{escape(title)}</title><style>{STYLE}</style>"  # fmt: skip
    body = "\n".join(part for part in parts if part)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _facts(told: dict[str, Any]) -> str:
    against = told["against"]
    facts = [f"<b>{value:,}</b> {escape(name)}" for name, value in told["counts"].items() if name != "bytes"]
    facts += [f"<b>{size(told['counts']['bytes'])}</b> in all", f"<b>{duration(told['seconds'])}</b>"]
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(told["began"]))
    said = [f"begun {since}", *([f"in {told['attempts']} attempts"] if told["attempts"] > 1 else [])]
    said += [f"commit {told['commit']}"] if told["commit"] else []
    said += [told["machine"]]
    if against["night"]:
        good = "the last good night" if against["good"] else "the last night, as none was good yet"
        said.append(f"compared with {against['night']}, {good}")
    listed = "".join(f"<li>{fact}</li>" for fact in facts)
    return f'<ul class="facts">{listed}</ul><p class="faint">{escape("; ".join(said))}</p>'


def _section(title: str, parts: list[str]) -> str:
    return f"<h2>{title}</h2>" + "".join(parts) if any(parts) else ""


def _failure(entry: dict[str, Any]) -> str:
    since = "" if entry["new"] else ' <span class="faint">(as in the night that it is compared with)</span>'
    name = f"{entry['agent']}:{entry['step']}" if entry["step"] else entry["agent"]
    causes = "".join(f"<li>{_cause(cause, [cause['at']])}</li>" for cause in entry["causes"])
    blamed = f'<p class="faint">What differs of what it depends on:</p><ul>{causes}</ul>' if causes else ""
    return f'<details open="open"><summary class="bad">✗ {escape(name)}{since}</summary>' \
           f"<pre>{escape(entry['says'])}</pre>{blamed}</details>"  # fmt: skip


def _cause(cause: dict[str, Any], at: list[str]) -> str:
    where = ", ".join(place for place in at if place)
    state = "bad" if cause["why"] == "unknown" else "warn"
    entered = f' <span class="faint">at {escape(where)}</span>' if where else ""
    return f'<b class="{state}">{escape(cause["why"])}</b> {escape(cause["says"])}{entered}'


def _group(group: dict[str, Any]) -> str:
    causes = "<br/>".join(_cause(cause, cause["at"]) for cause in group["causes"]) or "mended"
    agents = dict.fromkeys(change["agent"] for change in group["changes"])
    count = f"{len(group['changes'])} changes of {len(agents)} agents" if len(agents) > 1 else \
        f"{len(group['changes'])} of {next(iter(agents))}"  # fmt: skip
    rows = [[(change["agent"], ""), (change["folder"], ""), (change["what"], ""), (change["says"], "says")]
            for change in group["changes"]]  # fmt: skip
    return f'<details><summary>{causes} <span class="faint">· {escape(count)}</span></summary>{_table(rows)}</details>'


def _warnings(warned: list[dict[str, Any]]) -> list[str]:
    rows = [[("new" if w["new"] else "standing", ""), (w["agent"], ""), (w["folder"], ""), (w["says"], "says")]
            for w in sorted(warned, key=lambda one: not one["new"])]  # fmt: skip
    return [_table(rows)] if rows else []


def _table(rows: list[list[tuple[str, str]]], head: tuple[str, ...] = ()) -> str:
    """Cells as text and class."""
    lines = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{escape(text)}</td>' for text, kind in row) + "</tr>" for row in rows
    )
    above = "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>" if head else ""
    return f'<div class="scroll"><table>{above}{lines}</table></div>'


def _trends(trends: dict[str, Any]) -> str:
    shown: dict[str, tuple[str, Callable[[Any], str], bool]] = {
        "seconds": ("The night took", duration, True),
        "failed": ("Steps that failed", str, True),
        "used": ("Of the tolerance that is used most", lambda value: f"{value:.0%}", True),
        "bytes": ("Size of the artifacts", size, False),
        "us": ("Decisions, times what is usual", lambda value: f"{value:.2f}", True),
    }
    states = [STATES.get(outcome, "warn") for outcome in trends["outcome"]]
    drawn = [
        plots.trend(title, trends[key], trends["night"], states,
                    ["" if value is None else says(value) for value in trends[key]], zero)
        for key, (title, says, zero) in shown.items()
    ]  # fmt: skip
    return f'<div class="plots">{"".join(drawn)}</div>' if any(drawn) else '<p class="faint">No night is finished.</p>'


FIGURES: dict[str, Callable[[float], str]] = {
    "used": lambda share: f"{share:.0%}",
    "bytes": lambda count: size(count),
    "us": lambda microseconds: f"{microseconds:.0f} µs",
}


def _agent(name: str, rows: list[dict[str, Any]], failing: set[str]) -> str:
    worst = (
        "failed"
        if name in failing
        else next((state for state in ("failed", "waived") if any(row["status"] == state for row in rows)), "passed")
    )
    colour = {"failed": "bad", "waived": "warn"}.get(worst, "good")
    lines = []
    for row in rows:
        cells = "".join(
            f'<td class="number">{escape(says(row[key]))} {plots.spark(row["past"][key], row["folder"])}</td>'
            if row[key] is not None
            else "<td></td>"
            for key, says in FIGURES.items()
        )
        mark = f"{MARKS.get(row['status'], '')} {row['figure']}".strip()
        lines.append(f'<tr><td>{escape(row["folder"])}</td><td title="{escape(row["reason"])}">{escape(mark)}</td>'
                     f"{cells}</tr>")  # fmt: skip
    head = "".join(f"<th>{title}</th>" for title in ("", "verdict", "tolerance used", "size", "a decision"))
    return (
        f'<details><summary><span class="{colour}">{MARKS[worst]}</span> {escape(name)}</summary>'
        f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div></details>'
    )


def _versions(versions: dict[str, dict[str, str]]) -> str:
    rows = [[(name, ""), (", ".join(f"{package} {version}" for package, version in sorted(pins.items())), "says")]
            for name, pins in versions.items()]  # fmt: skip
    return f"<details><summary>of every toolchain</summary>{_table(rows)}</details>"


def size(count: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} GB"


def duration(seconds: float) -> str:
    """Seconds, for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"

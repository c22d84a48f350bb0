"""The trials with the newest versions, as a page and as text."""

from __future__ import annotations

from html import escape
from typing import Any

from pipeline.nightly.page import document, duration

COLOURS = {"passes": "good", "nothing newer": "good"}


def page(told: dict[str, Any]) -> str:
    """The page of all trials."""
    state = "" if told["finished"] else " Stopped by the time limit; the next call continues."
    broken = [name(row) for row in told["rows"] if row["ended"] not in COLOURS]
    said = f"What breaks: {', '.join(broken)}." if broken else "Nothing breaks."
    rows = "".join(_row(row) for row in told["rows"])
    head = "".join(f"<th>{title}</th>" for title in ("newest", "from the lock to", "", "other bytes", "took"))
    details = "".join(_details(row) for row in told["rows"] if row["hops"] or row["says"] or row.get("verdicts"))
    return document(
        f"Slipway with the newest versions, {told['night']}",
        [
            f"<h1>With the newest versions, {escape(told['night'])}</h1>",
            f'<p class="headline {"warn" if broken else "good"}"><b>{escape(said + state)}</b></p>',
            f'<p class="faint">One toolchain at a time, the others as locked; where it breaks, each of its packages '
            f"alone. {escape(told['machine'])}; commit {escape(told['commit'] or '?')}; "
            f"{duration(told['seconds'])}.</p>",
            f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>',
            f"<h2>What was said</h2>{details}" if details else "",
        ],
    )


def name(row: dict[str, Any]) -> str:
    """What a trial is called: its toolchain, or the package that moved alone."""
    if row["package"]:
        return f"{row['toolchain']}: {row['package']} alone"
    return row["toolchain"] or "as locked"


def _moved(row: dict[str, Any]) -> str:
    return ", ".join(f"{package} {old} → {new}" for package, (old, new) in row["moved"].items())


def first(row: dict[str, Any]) -> str:
    """The kinds, or steps, at which a trial broke, each once."""
    return ", ".join(dict.fromkeys(hop["step"].partition(":")[2] for hop in row["hops"]))


def ended(row: dict[str, Any]) -> str:
    """How a trial ended, and at which hops."""
    if row["ended"] == "breaks":
        return f"breaks at {first(row)}"
    return row["ended"] + (f": no {', '.join(row['without'])}" if row.get("without") else "")


def _row(row: dict[str, Any]) -> str:
    colour = COLOURS.get(row["ended"], "bad")
    bytes_ = str(row["other_bytes"]) if "other_bytes" in row else ""
    return (
        f"<tr><td>{escape(name(row))}</td><td>{escape(_moved(row))}</td>"
        f'<td class="{colour}">{escape(ended(row))}</td><td class="number">{bytes_}</td>'
        f'<td class="number">{duration(row["seconds"])}</td></tr>'
    )


def _details(row: dict[str, Any]) -> str:
    said = [row["says"]] if row["says"] else []
    said += [f"{hop['step']}\n{hop['says']}" for hop in row["hops"] if hop["says"] not in said]
    said += row.get("verdicts", [])
    text = "\n\n".join(said)
    return f"<details><summary>{escape(name(row))}</summary><pre>{escape(text)}</pre></details>"


def text(rows: list[dict[str, Any]]) -> str:
    """A line for each trial."""
    lines = []
    for row in rows:
        said = f": {row['says']}" if row["says"] else "".join(f"\n    {hop['says']}" for hop in row["hops"][:3])
        moved = f" ({_moved(row)})" if row["moved"] else ""
        lines.append(f"{name(row)}{moved}  {ended(row)}{said}")
    return "\n".join(lines)

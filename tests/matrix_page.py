"""The support matrix as a page: a table for each algorithm, and reasons as footnotes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

MARKS = {"passed": "✓", "converts and runs": "○"}
HEAD = """# Support matrix

Made by `./doit matrix`, not by hand: each row is an untrained agent of stable-baselines3 {sb3} or sb3-contrib {contrib} that
was built through every target and held to `predict` after every hop. `tests/test_support_matrix.py` builds a part of the
rows anew in every run of the tests and holds this page to them.

✓ decides as `predict` · ○ converts and runs: float16 and int8 round, and an untrained agent has no return by which to judge
what that costs; a trained one is judged in closed loop · a number: not so, for the reason below
"""


def page(found: dict[str, Any]) -> str:
    """Markdown of the whole matrix.

    :param found: ``versions``, and ``rows`` as ``docs/support-matrix.json`` holds them
    """
    versions, rows = found["versions"], found["rows"]
    notes: dict[str, int] = {}
    parts = [HEAD.format(sb3=versions["stable-baselines3"], contrib=versions["sb3-contrib"])]
    for algorithm in dict.fromkeys(row["algorithm"] for row in rows):
        built = [row for row in rows if row["algorithm"] == algorithm and "kinds" in row]
        if built:
            parts.append(f"## {algorithm}\n\n{_table(built, notes)}")
    reasons = [f"{number}. {reason}" for reason, number in notes.items()]
    parts.append("## Why not\n\n" + "\n".join(reasons) + "\n")
    parts.append(_refused([row for row in rows if "refused" in row]))
    return "\n".join(parts)


def _table(rows: list[dict[str, Any]], notes: dict[str, int]) -> str:
    kinds = list(rows[0]["kinds"])
    lines = [["policy", "observation", "action", "", *(f"`{kind}`" for kind in kinds)]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        cells = [_cell(row["kinds"][kind], notes) for kind in kinds]
        lines.append([row["policy"], row["observation"], row["action"], row["feature"], *cells])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(verdict: str, notes: dict[str, int]) -> str:
    """A mark, or the number of the reason."""
    return MARKS.get(verdict) or f"[{notes.setdefault(verdict, len(notes) + 1)}](#why-not)"


def _refused(rows: list[dict[str, Any]]) -> str:
    """What Stable-Baselines3 itself does not make, by algorithm and reason."""
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        words = (row["policy"], row["observation"], "→", row["action"], row["feature"])
        grouped[row["algorithm"], row["refused"]].append(" ".join(filter(None, words)))
    lines = [
        f"- **{algorithm}**: “{' '.join(reason.split())}” ({'; '.join(combinations)})"
        for (algorithm, reason), combinations in grouped.items()
    ]
    return "## What Stable-Baselines3 itself does not make\n\n" + "\n".join(lines) + "\n"

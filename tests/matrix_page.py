"""The support matrix as a page for a reader: rows that fared alike are drawn together, reasons are footnotes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.hops import HOPS

# Of the ladder of quantization its first rung stands for all: what it lacks, the others lack.
SHOWN = tuple(hop for hop in HOPS if hop.rung in ("", "int8") and not hop.rungs and not hop.asked)
KINDS = tuple(hop.kind for hop in SHOWN)
PASSED, RUNS = "passed", "converts and runs"
AXES = ("action", "observation", "algorithm")
TITLES = {"algorithm": "Algorithm", "policy": "Policy", "observation": "Observations", "action": "Actions"}
TOP = """# Support matrix

What becomes of every combination of algorithm, policy, observations and actions that Stable-Baselines3 {sb3} and
sb3-contrib {contrib} make: {count} untrained agents, each built through every target and held to `predict` after every
hop. Made by `./doit matrix`, not by hand; [support-matrix.json](support-matrix.json) lists the combinations one by one,
and `tests/test_support_matrix.py` builds {kept} of them anew in every run of the tests and holds both files to them.

| | |
| --- | --- |
| ✓ | every output is that of SB3's own `predict` within the tolerance, on observations drawn from the space and its edges |
| ○ | converts, runs, and answers finite numbers of the right shapes: {rounded} round, and an untrained agent has no return by which to judge what that costs; a trained one is judged in closed loop |
| – | not run, or not supported: the footnote says why |
"""


def page(matrix: dict[str, Any], kept: int) -> str:
    """The page.

    :param matrix: the content of ``support-matrix.json``
    :param kept: how many families the tests hold to it
    """
    notes: list[str] = []
    rows = [_marked(row, notes) for row in matrix["rows"] if "kinds" in row]
    plain = merged([row for row in rows if not row["feature"]], AXES)
    features = merged([row for row in rows if row["feature"]], ("algorithm",))
    features = merged([_agents(row) for row in features], ("who", "feature"))
    refused = merged([_refused(row) for row in matrix["rows"] if "refused" in row], AXES)
    top = TOP.format(
        sb3=matrix["versions"]["stable-baselines3"],
        contrib=matrix["versions"]["sb3-contrib"],
        count=len(rows),
        kept=kept,
        rounded=" and ".join(f"`{hop.kind}`" for hop in SHOWN if hop.precision != "float"),
    )
    sections = [
        top,
        "## Algorithms, policies, observations, actions\n",
        table([*TITLES, *KINDS], plain, TITLES),
        "\n## Features\n",
        table(["feature", "who", *KINDS], features, {"feature": "Feature", "who": "Agents"}),
        "\n## What Stable-Baselines3 itself does not make\n",
        table([*TITLES, "refused"], refused, {**TITLES, "refused": "It says"}),
        "",
        *[f"[^{number}]: {note}" for number, note in enumerate(notes, start=1)],
    ]
    return "\n".join(sections) + "\n"


def merged(rows: Iterable[dict[str, str]], axes: Sequence[str]) -> list[dict[str, str]]:
    """Rows that differ in one axis alone as one row, its values joined; one axis after the other."""
    found = list(rows)
    for axis in axes:
        groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for row in found:
            groups.setdefault(tuple(value for name, value in row.items() if name != axis), []).append(row)
        joint = "<br>" if axis == "who" else ", "
        found = [{**alike[0], axis: joint.join(dict.fromkeys(row[axis] for row in alike))} for alike in groups.values()]
    return found


def table(names: Sequence[str], rows: list[dict[str, str]], titles: dict[str, str]) -> str:
    """Rows as a table of Markdown, names as its columns."""
    lines = [[titles.get(name, name) for name in names], ["---"] * len(names)]
    lines += [[row[name].replace("|", "\\|") for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _marked(row: dict[str, Any], notes: list[str]) -> dict[str, str]:
    """A row with marks for cells; reasons become notes, each once."""
    return {**_named(row), **{kind: _mark(row["kinds"][kind], notes) for kind in KINDS}}


def _named(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in (*TITLES, "feature")}


def _mark(cell: str, notes: list[str]) -> str:
    if cell in (PASSED, RUNS):
        return "✓" if cell == PASSED else "○"
    if cell not in notes:
        notes.append(cell)
    mark = {"failed": "✗", RUNS: "○"}.get(cell.partition(":")[0], "–")
    return f"{mark}[^{notes.index(cell) + 1}]"


def _agents(row: dict[str, str]) -> dict[str, str]:
    """A row of a feature, with who has it in one cell."""
    who = f"{row['algorithm']}: {row['policy']}, {row['observation']} → {row['action']}"
    return {"feature": row["feature"], "who": who, **{kind: row[kind] for kind in KINDS}}


def _refused(row: dict[str, Any]) -> dict[str, str]:
    """A combination that Stable-Baselines3 refuses, its words without what differs from space to space."""
    said = re.sub(r"<class '[\w.]*\.(\w+)'>", r"\1", row["refused"])
    said = re.sub(r"\((\w+),\)", r"\1", re.sub(r" but .* was provided", "", said))
    return {**_named(row), "refused": said}

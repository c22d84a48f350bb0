"""``docs/benchmarks/scaling.md``, from the figures that :mod:`benchmarks.scaling` measured."""

from __future__ import annotations

from benchmarks.measuring import Goal, Job, goals_page, table

PAGE = """# What one more agent costs

Made by `./doit bench:scaling`: copies of `{source}` under other names, so that all cost the same. A row is one
`./doit` in fresh artifacts with nothing running before, as many steps at a time as there are cores; then the same with
nothing to do.

{goals}

![Wall time by number of agents](scaling.svg)

A further agent's cost is the difference to the row before by the number of agents between; the first row holds the warm
starts of the toolchains. *doit alone* is a `dodo.py` with as many tasks and the same dependencies, all of them up to
date by `uptodate: [True]`, in the same environment. *list* and *inspect* are `./doit list` and `./doit inspect FILE`
where these agents are configured. Medians of some runs, taken in turn.

{series}

Commands without agents of their own, in a fresh clone's `configs/`: {commands}.

Measured on {machine}; `scaling.json` holds all figures and versions.
"""


def page(result: Job) -> str:
    """The page as Markdown."""
    machine = result["machine"]
    parts = []
    for label, rows in result["series"].items():
        targets = ", ".join(f"`{target}`" for target in result["targets"][label])
        parts.append(f"## {label.capitalize()}: {targets}\n\n{_rows(rows)}")
    return PAGE.format(
        source=result["source"],
        goals=goals_page([Goal(**goal) for goal in result["goals"]]),
        series="\n\n".join(parts),
        commands=", ".join(f"`{name}` {seconds:.2f} s" for name, seconds in result["commands"].items()),
        machine=f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
    )


def _rows(rows: list[Job]) -> str:
    """A row for each number of agents."""
    found = []
    for before, row in zip([None, *rows], rows, strict=False):
        further = ["", ""]
        if before is not None:
            more = row["count"] - before["count"]
            further = [f"{(row[key] - before[key]) / more:.2f}" for key in ("seconds", "cpu")]
        idle = [f"{row['idle']:.2f}", f"{row['doit_alone']:.2f}", f"{row['idle'] / row['doit_alone']:.1f}"]
        counted = [f"{row['count']}", f"{row['tasks']:,}", f"{row['seconds']:.1f}", f"{row['cpu']:.1f}"]
        found.append([*counted, *further, *idle, f"{row['list']:.2f}", f"{row['inspect']:.2f}"])
    head = ["agents", "tasks", "built, s", "CPU, s", "a further one, s", "CPU, s", "nothing to do, s", "doit alone, s"]
    return table([*head, "times", "list, s", "inspect, s"], found)

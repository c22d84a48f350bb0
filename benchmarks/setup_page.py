"""``docs/benchmarks/setup.md``, from the figures that :mod:`benchmarks.setup` measured."""

from __future__ import annotations

from benchmarks.measuring import Goal, Job, goals_page, table

PAGE = """# How long the environments take

Made by `./doit bench:setup`: `./doit toolchains` in a fresh clone, into a folder of its own ({made}, and the one that
runs doit), with empty caches of pip, uv and npm, and with the caches that this left. Baseline: plain `pip install` of
one of the locks, `{lock}`, into a new venv, with pip's cache empty and then full.

{goals}

![Time by cache](setup.svg)

{rows}

From an empty cache the network is measured too. Every environment is proven: what it is for is imported before it
counts as made; pip's is not. Bytes of `./doit` are those of all environments, a file that several share counted once.

{each}

Measured on {machine}; `setup.json` holds all figures and versions.
"""
SAYS = {"ours": "`./doit toolchains`", "pip": "pip, one lock"}


def page(result: Job) -> str:
    """The page as Markdown."""
    machine = result["machine"]
    return PAGE.format(
        made=", ".join(result["made"]),
        lock=result["lock"],
        goals=goals_page([Goal(**goal) for goal in result["goals"]]),
        rows=_rows(result),
        each=_each(result["ours"]),
        machine=f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
    )


def _rows(result: Job) -> str:
    rows = []
    for label, says in SAYS.items():
        for cache, held in result[label].items():
            cached = f"{held['cached'] / 1e6:,.0f} MB" if "cached" in held else ""
            took = [f"{held['seconds']:.0f} s", f"{held['cpu']:.0f} s", f"{held['peak'] / 1e6:,.0f} MB"]
            rows.append([f"{says}, {cache} cache", *took, f"{held['bytes'] / 1e6:,.0f} MB", cached])
    return table(["", "wall", "CPU", "peak memory", "on disk", "left in the caches"], rows)


def _each(ours: Job) -> str:
    """Seconds of each environment: several are made at once."""
    names = list(dict.fromkeys(name for held in ours.values() for name in held["each"]))
    rows = [[name, *(f"{held['each'].get(name, 0.0):.1f}" for held in ours.values())] for name in names]
    return table(["environment, seconds", *(f"{cache} cache" for cache in ours)], rows)

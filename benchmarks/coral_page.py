"""``docs/benchmarks/coral.md``, from the figures that :mod:`benchmarks.coral` measured."""

from __future__ import annotations

from benchmarks.measuring import Goal, Job, goals_page, table
from pipeline.hops import edgetpu_memory

PAGE = """# How long a decision takes

Made by `./doit bench:coral`: untrained PPO agents of Stable-Baselines3 (`MlpPolicy`, four observations, two actions,
tanh; biases drawn, so that decisions differ), through `./doit` to TFLite in float32 and int8. It is the benchmark of
SB3's own [Coral example](https://github.com/chunky/sb3_to_coral), done again.

{goals}

![Time for one decision, by number of parameters](coral.svg)

Milliseconds for one decision about one observation, in one thread: p50, and p99 in brackets. *times* is SB3's p50 by
int8's. Methods took turns in slices of {slice} ms, so the ratios mean something; the figures themselves are this
machine's. **SB3** is `predict(deterministic=True)`, what a Python program calls today. **float32** and **int8** are
whole policies in LiteRT, the observation in and the action out; **core** is the int8 network alone, without the float
steps around it, which is what an Edge TPU is given. {coral}

{latencies}

## Size and Edge TPU

{sizes}

On chip: what the parameters take there, as predicted; an Edge TPU holds about {cache} of them, and streams what is more
from the host at every decision. Compiler: {compiler}

Measured on {machine}; `coral.json` holds all figures and versions.
"""


def page(result: Job) -> str:
    """The page as Markdown."""
    built = [row for row in result["networks"] if "latency" in row]
    machine = result["machine"]
    return PAGE.format(
        goals=goals_page([Goal(**goal) for goal in result["goals"]]),
        slice=f"{1000 * result['slice']:.0f}",
        coral=_said(built, "coral", "A Coral was attached.", "A **Coral** was not timed: {}."),
        compiler=_said(built, "compiler", "the last column.", "not run: {}."),
        latencies=_latencies(result["networks"]),
        sizes=_sizes(built),
        cache=edgetpu_memory.size(result["on_chip_bytes"]),
        machine=f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
    )


def _said(built: list[Job], what: str, where: str, absent: str) -> str:
    """Where something is told, or why it is absent."""
    reasons = sorted({row[what]["not_run"] for row in built if "not_run" in row[what]})
    return absent.format("; ".join(reasons)) if reasons else where


def _latencies(networks: list[Job]) -> str:
    """A row for each network."""

    def cell(row: Job, name: str) -> str:
        held = row["latency"].get(name)
        return f"{held['p50']:.3g} ({held['p99']:.3g})" if held else "not run"

    rows = []
    for row in networks:
        shape = f"{row['depth']}×{row['width']}"
        if "latency" not in row:
            rows.append([shape, row["reason"], *[""] * 6])
            continue
        times = row["latency"]["sb3"]["p50"] / row["latency"]["int8"]["p50"]
        methods = ("sb3", "float32", "int8", "int8_core", "coral")
        rows.append([shape, f"{row['parameters']:,}", *(cell(row, name) for name in methods), f"{times:.1f}"])
    return table(["layers", "parameters", "SB3", "float32", "int8", "core", "Coral", "times"], rows)


def _sizes(built: list[Job]) -> str:
    """A row for each network."""
    rows = []
    for row in built:
        held, size = row["compiler"], edgetpu_memory.size
        mapped = "" if "not_run" in held else f"{held['mapped']} mapped, left: {', '.join(held['left']) or 'none'}"
        streamed = size(row["streamed_bytes"]) if row["streamed_bytes"] else "nothing"
        rows.append(
            [
                f"{row['depth']}×{row['width']}",
                f"{row['float32_bytes']:,}",
                f"{row['int8_bytes']:,}",
                f"{row['int8_bytes'] / row['float32_bytes']:.0%}",
                "all" if row["all_map"] else row["edge_tpu"],
                size(row["on_chip_bytes"]),
                streamed,
                mapped or "not run",
            ]
        )
    head = ["layers", "float32, bytes", "int8 core, bytes", "ratio", "Edge TPU, predicted", "on chip", "streamed"]
    return table([*head, "compiler"], rows)

"""``docs/benchmarks/quantization.md``, from the figures that :mod:`benchmarks.quantization` measured."""

from __future__ import annotations

from typing import Any

from benchmarks.measuring import Goal, Job, goals_page, table
from benchmarks.rivals import DRAWS

METHODS = {
    "ours": "Slipway, default settings",
    "example": "SB3's Coral example, as written",
    "example_space": "the example as kind as can be, calibrated on draws of the space",
    "example_normal": "the same, calibrated on standard normal numbers",
    "int8_nearest": "ours in int8, weights rounded to nearest",
    "int16x8_nearest": "ours in int16x8, weights rounded to nearest",
}
SHORT = {
    "ours": "Slipway",
    "example": "example, as written",
    "example_space": "example, space",
    "example_normal": "example, normal",
    "int8_nearest": "int8, to nearest",
    "int16x8_nearest": "int16x8, to nearest",
}
PAGE = """# What integers cost public agents

Made by `./doit bench:quantization`, which ends with an error where a figure is missed. Agents: {origin}.

{goals}

![Share of the return kept, by agent and method](quantization.svg)

## What is kept

`kept = (artifact − random policy) / (source − random policy)` of mean returns, in the same seeded episodes for all,
none of which was used to build or judge an artifact. Slipway's acts in {most} of them; the others in the first
{episodes}, and in more, as the gate has it, until the 95 % bootstrap interval (in brackets) is on one side of {limit}:
so of the others what happens once in fifty episodes may not be seen. Bold: below {limit}.

{kept}

- **Slipway**: `./doit` with default settings; the next table says which rung of the ladder was handed on.
- **example, as written**: the recipe that SB3's export guide points to,
  [sb3_to_coral](https://github.com/chunky/sb3_to_coral), `model_conv.py` at 9c8e519: SB3 → ONNX → onnx-tf →
  TFLiteConverter, int8 in full, calibrated on {draws:,} draws of the environment's observation space, weights rounded
  to nearest. It is written for SAC; VecNormalize, tanh and rescaling are left to the reader.
  {as_written}
- **example, space** and **example, normal**: the recipe as kind as can be. Slipway's loader opens the archive, and
  VecNormalize before the network and the steps to the action behind it are added in float; the network alone is
  quantized, as the recipe does it, calibrated on the recipe's own draws, or on standard normal numbers.
- **int8** and **int16x8, to nearest**: what Slipway's rounding gains. The same core (inputs equalized, choices
  centered) and calibration (the agent's rollouts), but each weight rounded to its nearest integer, as TensorFlow does.

## Ours

{ours}

Equal: decisions that are those of `predict`, on observations of other episodes; ±: mean action error of the action's
range. Solved: the share of episodes that reach the environment's own threshold, of the artifact and of the source.
Died: the share of episodes that lose more than half of what lies between source and random policy.

## What else was measured

{others}

{left_out}Measured on {machine}; `quantization.json` holds all figures and versions. Returns depend on the last
bits of a processor's arithmetic, of which long episodes can make much.
"""


def page(result: Job) -> str:
    """The page as Markdown."""
    agents, episodes = result["agents"], result["episodes"]
    left_out = [f"`{name}` ({reason.split(':')[0]})" for name, reason in result["left_out"].items()]
    machine = result["machine"]
    return PAGE.format(
        origin=result["agents_of"],
        goals=goals_page([Goal(**goal) for goal in result["goals"]]),
        episodes=episodes["episodes"],
        most=episodes["most"],
        limit=f"{episodes['return_kept']:.0%}",
        kept=_kept(agents, episodes["return_kept"]),
        as_written=_as_written(agents),
        draws=DRAWS,
        ours=_ours(agents),
        others=_others(agents),
        left_out=f"Left out, as their environment is not there: {', '.join(left_out)}.\n\n" if left_out else "",
        machine=f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
    )


def _kept(agents: dict[str, Any], limit: float) -> str:
    def cell(held: Job) -> str:
        if "kept" not in held:
            return "–"
        text = f"{held['kept']:.1%}".replace("-0.0%", "0.0%")
        text = f"**{text}**" if held["kept"] < limit else text
        return f"{text} ({held['low']:.0%} to {held['high']:.0%})"

    shown = [name for name in METHODS if name != "example" or any("kept" in m[name] for m in agents.values())]
    rows = []
    for agent, methods in agents.items():
        held: Job = next((found for found in methods.values() if "kept" in found), {})
        returns = f"{held['random']:.4g} → {held['source']:.4g}" if held else "–"
        rows.append([f"`{agent}`", returns, *(cell(methods.get(name, {})) for name in shown)])
    below = [sum(m.get(name, {}).get("kept", limit) < limit for m in agents.values()) for name in shown]
    rows.append([f"below {limit:.0%}", f"of {len(agents)}", *map(str, below)])
    return table(["agent", "return: random → source", *(SHORT[name] for name in shown)], rows)


def _as_written(agents: dict[str, Any]) -> str:
    """For how many agents the recipe can be followed, and why not for the others."""
    reasons: dict[str, int] = {}
    for methods in agents.values():
        reason = methods.get("example", {}).get("reason", "")
        if reason:
            reasons[reason] = reasons.get(reason, 0) + 1
    followed = sum("kept" in methods.get("example", {}) for methods in agents.values())
    said = "; ".join(f"{count} × `{reason}`" for reason, count in sorted(reasons.items(), key=lambda one: -one[1]))
    return f"As written it can be followed for {followed} of {len(agents)} agents{f' ({said})' if said else ''}."


def _ours(agents: dict[str, Any]) -> str:
    rows = []
    for agent, methods in agents.items():
        held = methods["ours"]
        if "kept" not in held:
            rows.append([f"`{agent}`", held["reason"], *[""] * 8])
            continue
        smaller = f"{held['bytes'] / held['float32_bytes']:.0%}"
        rows.append(
            [
                f"`{agent}`",
                f"{held['algorithm']}, {held['environment']}",
                f"{held['rung']}{', waived' if held['waived'] else ''}",
                f"{held['parameters']:,}",
                f"{held['bytes']:,}",
                smaller,
                "all" if held["all_map"] else held["edge_tpu"],
                equal(held),
                solved(held),
                f"{held['died']:.1%}",
            ]
        )
    head = ["agent", "", "rung", "parameters", "bytes", "of the float32 TFLite", "Edge TPU, predicted", "equal, or ±"]
    return table([*head, "solved", "died"], rows)


def _others(agents: dict[str, Any]) -> str:
    """Of every other method: decisions, episodes solved, bytes, what an Edge TPU would take."""
    rows = []
    for agent, methods in agents.items():
        for name, held in methods.items():
            if "kept" in held and name != "ours":
                mapped, of = held["mapped"]
                mapped = "all" if held["all_map"] else f"{mapped} of {of}"
                row = [f"`{agent}`", SHORT[name], str(held["episodes"]), equal(held), solved(held)]
                row.append(f"{held['died']:.1%}")
                rows.append([*row, f"{held['bytes']:,}", mapped])
            elif name not in ("ours", "example"):
                rows.append([f"`{agent}`", SHORT[name], held["reason"], *[""] * 5])
    head = ["agent", "method", "episodes", "equal, or ±", "solved", "died", "bytes", "Edge TPU, predicted"]
    return table(head, rows)


def equal(held: Job) -> str:
    """The share of equal decisions, or the mean action error."""
    if held["decisions"] is not None:
        return f"{held['decisions']:.1%}"
    return f"±{held['action_error']:.2%}"


def solved(held: Job) -> str:
    """Shares of episodes of the artifact and of the source."""
    if "solved" not in held:
        return "no threshold"
    return f"{held['solved']['artifact']:.0%} of {held['solved']['source']:.0%}"

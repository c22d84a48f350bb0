"""``docs/errors.md``, from the catalogue: ``./doit catalogue`` writes it."""

from __future__ import annotations

from catalogue import ANSWERS, GROUPS
from catalogue.row import Row
from running import ROOT

PATH = ROOT / "docs" / "errors.md"
HEAD = """\
# What Slipway answers to bad input

Whatever is wrong with what it was given, Slipway says in one line: what, where, why, what to do. It writes nothing but a
log, builds all other agents, and ends with an exit code that tells refusals from failures:

| exit code | what it says |
| --- | --- |
| 0 | all is well |
| 1 | a step failed: a check, a converter, a full disk; or it was interrupted |
| 2 | nothing failed, but something that was given is refused |
| 3 | doit itself could not begin |

A line begins with the class of the error, which scripts can go by; then come the agent and the step, and the file, with
the line of the config where it tells.

This page is written by `./doit catalogue` from [`tests/catalogue`](../tests/catalogue), which holds Slipway to it, to the
letter. `configs/` stands for the folder of the configs, `…` for figures.
"""


def text() -> str:
    parts = [HEAD]
    for group, rows in GROUPS.items():
        parts.append(f"\n## {group}\n\n| what is wrong | what Slipway says | exit code |\n| --- | --- | --- |\n")
        parts += [f"| {_wrong(row)} | {_code(row.says('configs'))} | {row.code} |\n" for row in rows]
    parts.append("\n## What is answered otherwise\n\n| what is wrong | what becomes of it |\n| --- | --- |\n")
    parts += [f"| {answer.wrong} | {answer.answer} |\n" for answer in ANSWERS]
    return "".join(parts)


def _wrong(row: Row) -> str:
    if not row.ask:
        return row.wrong
    asked = " ".join(argument.replace("{here}", "configs") or '""' for argument in row.ask)
    return f"{row.wrong}: {_code(f'./doit {asked}')}"


def _code(line: str) -> str:
    """Code within a table."""
    return f"`` {line} ``".replace("|", "\\|") if "`" in line else f"`{line}`".replace("|", "\\|")


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")

"""A run while it goes on, on a terminal: agents × kinds filling in, what runs now, and what failed."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pipeline.hops import HOPS
from pipeline.report import MARKS, line
from pipeline.steps import drawing, ladder

if TYPE_CHECKING:
    from rich.console import Console, ConsoleRenderable
    from rich.text import Text

BEGINNING = "sb3"  # the row of what an agent's hops start from
RUNNING = "▸"
STYLES = {"✓": "green", "✗": "red", "!": "yellow", "–": "dim", "·": "dim", RUNNING: "cyan"}
CELL = (10, 24)  # least and greatest width of a cell
OTHERS = 5  # lines beside the agents': one above, two of text, the bar, and one to spare
WORDY = 17  # width from which a cell says what runs, beside for how long


def on_terminal(out: Any) -> bool:
    """Whether a stream is a terminal that a view can be drawn on, and nobody asked for plain lines."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return not plain and hasattr(out, "isatty") and bool(out.isatty())


class Progress:
    """What has become of the steps of a run.

    :param steps: names of all steps of the run, also of those that are not an agent's
    :param agents: their names, in order
    :param finding: what a cell, of an agent and a row, says when all of its steps have ended
    """

    def __init__(self, steps: Iterable[str], agents: list[str], finding: Callable[[str, str], str]) -> None:
        self.begun = time.monotonic()
        self.agents = agents
        self.finding = finding
        self.running: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.found: dict[tuple[str, str], str] = {}
        self.waiting = set(steps)
        self.total = len(self.waiting)
        kinds = {name.split(":")[1] for name in self.waiting if ":" in name}
        ladders = [hop for hop in HOPS if hop.rungs and hop.kind in kinds]
        ends = {own: hop.kind for hop in ladders for own in (*hop.rungs, ladder.MORE, drawing.FOLDER)}
        places = {name: self._place(name, ends) for name in self.waiting}
        self.cells = {name: place for name, place in places.items() if place[0] in agents}
        self.sizes = Counter(self.cells.values())
        self.left = Counter(self.sizes)
        self.remaining = Counter(agent for agent, _ in self.cells.values())
        rows = {row for _, row in self.cells.values()}
        order = [BEGINNING, *(hop.kind for hop in HOPS)]
        self.rows = [row for row in order if row in rows] + sorted(rows - set(order))

    @staticmethod
    def _place(name: str, ends: dict[str, str]) -> tuple[str, str]:
        agent, _, step = name.partition(":")
        kind = step.partition(":")[0]
        return agent, ends.get(kind, kind if ":" in step else BEGINNING)

    def start(self, name: str) -> None:
        self.running[name] = time.monotonic()

    def end(self, name: str, failed: bool = False) -> None:
        """A step ended, was found fresh, or is not reached."""
        self.running.pop(name, None)
        agent, _, step = name.partition(":")
        if failed:
            self.failed.setdefault(agent, step)
        if name not in self.waiting:
            return
        self.waiting.remove(name)
        cell = self.cells.get(name)
        if cell is not None:
            self.left[cell] -= 1
            self.remaining[agent] -= 1
            if not self.left[cell]:
                self.found[cell] = self.finding(*cell)

    def now_in(self, cell: tuple[str, str]) -> dict[str, float]:
        """The steps of a cell that run now, and since when."""
        return {name: since for name, since in self.running.items() if self.cells.get(name) == cell}

    def says(self, cell: tuple[str, str]) -> str:
        """What is in a cell in which nothing runs."""
        if cell not in self.sizes:
            return ""
        begun = RUNNING if self.left[cell] < self.sizes[cell] else MARKS["missing"]
        return self.found.get(cell, begun)

    def count(self) -> str:
        """How many agents are done, and how many failed."""
        done = sum(self.remaining[agent] == 0 for agent in self.agents)
        failed = sum(agent in self.failed for agent in self.agents)
        return f"{done} of {len(self.agents)} agents done" + (f", {failed} failed" if failed else "")


class View:
    """The view on a terminal: agents × kinds filling in, what runs now and for how long; what failed is written
    above it. It is drawn once a step has taken a moment, so that nothing flickers where there is nothing to do.
    """

    MOMENT = 0.2
    live = True

    def __init__(self, out: Any, progress: Progress, console: Console | None = None) -> None:
        self.out = out
        self.progress = progress
        self.console = console
        self.drawn: Any = None
        self.closed = False
        self.timer: threading.Timer | None = None
        self.lock = threading.Lock()  # of the progress: whoever holds it waits for nothing else
        self.writing = threading.RLock()  # of the terminal

    def start(self, name: str) -> None:
        with self.lock:
            self.progress.start(name)
        with self.writing:
            if self.timer is None and not self.closed:
                self.timer = threading.Timer(self.MOMENT, self._begin)
                self.timer.daemon = True
                self.timer.start()

    def skip(self, name: str) -> None:
        """A step that there was nothing to do for."""
        with self.lock:
            self.progress.end(name)

    def end(self, name: str, word: str, seconds: float, text: str = "") -> None:
        """What failed, and what a step itself had to say, stays above the view."""
        with self.lock:
            self.progress.end(name, failed=word == "FAILED")
        if text:
            with self.writing:
                self._write(f"{line(name, word, seconds)}\n{text}")

    def note(self, text: str) -> None:
        """What a run waits for stays above the view."""
        with self.writing:
            self._write(text)

    def close(self) -> None:
        """Take the view away."""
        with self.writing:
            self.closed = True
            if self.timer is not None:
                self.timer.cancel()
            if self.drawn is not None:
                self.drawn.stop()
                self.drawn = None

    def _write(self, text: str) -> None:
        if self.drawn is None:
            self.out.write(f"{text}\n")
            self.out.flush()
        else:
            self.drawn.console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def _begin(self) -> None:
        from rich.console import Console
        from rich.live import Live

        with self.writing:
            if self.closed:
                return
            console = self.console or Console(file=self.out, force_terminal=True)
            atexit.register(console.show_cursor)  # also where a second Ctrl-C ends what takes the view away

            def picture() -> ConsoleRenderable:
                with self.lock:
                    return draw(self.progress, console.width, console.height)

            self.drawn = Live(
                get_renderable=picture,
                console=console,
                transient=True,
                redirect_stdout=False,  # doit exchanges them too, in every thread
                redirect_stderr=False,
            )
            self.drawn.start()


def draw(progress: Progress, width: int, height: int) -> ConsoleRenderable:
    """The picture of a moment, within a terminal's width and height."""
    from rich.console import Group

    elsewhere = [name for name in progress.running if name not in progress.cells]
    told = [_text(f"{RUNNING} {_since(progress, elsewhere)}", STYLES[RUNNING])] if elsewhere else []
    if len(progress.agents) > 1:
        told.append(_text(progress.count(), "red" if progress.failed else ""))
    room = height - OTHERS
    grid = _grid(progress, width, room)
    picture = [grid] if grid is not None else _busy(progress, room)
    return Group(_text(""), *picture, *told, _bar(progress, width))


def _grid(progress: Progress, width: int, room: int) -> ConsoleRenderable | None:
    """Agents as rows if that fits, else as columns; None where neither does."""
    if not progress.rows:
        return None
    for across, down, least in ((progress.rows, progress.agents, WORDY), (progress.agents, progress.rows, CELL[0])):
        each = min((width - max(map(len, down)) - 2) // len(across) - 2, CELL[1])
        wanted = max(least, *(min(len(name), CELL[1]) for name in across))
        if each >= wanted and len(down) < room:
            return _table(progress, across, down, each)
    return None


def _table(progress: Progress, across: list[str], down: list[str], width: int) -> ConsoleRenderable:
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for _ in across:
        table.add_column(no_wrap=True, width=width, overflow="ellipsis")
    table.add_row("", *(_text(name, "bold") for name in across))
    for name in down:
        cells = [(other, name) if across is progress.agents else (name, other) for other in across]
        table.add_row(_text(name, "bold"), *(_cell(progress, cell, width) for cell in cells))
    return table


def _cell(progress: Progress, cell: tuple[str, str], width: int) -> Text:
    running = progress.now_in(cell)
    said = progress.says(cell)
    if running:
        name = min(running, key=lambda name: running[name])
        what = f" {_doing(name, cell[1])}" if width >= WORDY else ""
        said = f"{RUNNING}{what} {time.monotonic() - running[name]:.0f} s"
    return _text(said, STYLES.get(said[:1], ""))


def _doing(name: str, row: str) -> str:
    """What a step does, short enough for a cell: of a ladder's the rung, else convert, run or check."""
    kind = name.split(":")[1]
    rungs = {hop.kind: hop.rung for hop in ladder.RUNG_HOPS}
    return rungs[kind] if kind in rungs and kind != row else name.rpartition(":")[2]


def _busy(progress: Progress, room: int) -> list[Text]:
    """A line for each agent that runs, then for each that failed, as many as there is room for."""
    now: dict[str, list[str]] = {}
    for name in progress.running:
        if name in progress.cells:
            now.setdefault(name.partition(":")[0], []).append(name)
    told = [(agent, _since(progress, now[agent], len(agent) + 1)) for agent in progress.agents if agent in now]
    told += [(agent, "") for agent in progress.failed if agent not in now]
    wide = max([len(agent) for agent, _ in told], default=0)
    lines = []
    for agent, doing in told:
        mark = MARKS["failed"] if agent in progress.failed else RUNNING
        said = ", ".join(part for part in (progress.failed.get(agent), doing) if part)
        lines.append(_text(f"{mark} {agent.ljust(wide)}  {said}", STYLES[mark]))
    if len(lines) > room:
        rest = len(lines) - max(room - 1, 0)
        lines = [*lines[: max(room - 1, 0)], _text(f"  … and {rest} more", "dim")][: max(room, 0)]
    return lines


def _since(progress: Progress, names: list[str], start: int = 0) -> str:
    now = time.monotonic()
    return ", ".join(f"{name[start:]} {now - progress.running[name]:.0f} s" for name in names)


def _bar(progress: Progress, width: int) -> ConsoleRenderable:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    ended = progress.total - len(progress.waiting)
    minutes, seconds = divmod(int(time.monotonic() - progress.begun), 60)
    said = f" {ended}/{progress.total} steps  {minutes}:{seconds:02}"
    row = Table.grid()
    row.add_row(ProgressBar(progress.total, ended, width=max(min(width - len(said), 60), 1)), _text(said))
    return row


def _text(said: str, style: str = "") -> Text:
    """Text as it is, cut where the terminal ends."""
    from rich.text import Text

    return Text(said, style, no_wrap=True, overflow="ellipsis")

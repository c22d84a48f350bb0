"""``./doit``: doit, whose command line is checked, and whose exit code says how a run of agents ended.

0: all is well; 1: a step failed; 2: nothing failed, but something that was given is refused; 3: doit itself could not
begin.
"""

from __future__ import annotations

import difflib
import re

from doit import cmd_run, doit_cmd
from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand

from pipeline import errors, told
from pipeline.reporter import Reporter


class Run(cmd_run.Run):  # type: ignore[misc]
    """doit's command that runs tasks."""

    def parse_execute(self, arguments: list[str]) -> int:
        try:
            code: int = super().parse_execute(arguments)
        except InvalidCommand as error:
            if error.not_found is None:
                raise
            names = [task.name for task in self.task_list]
            close = difflib.get_close_matches(error.not_found, names, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            told.refuse(errors.CommandUnfit(f"there is no agent, kind or task '{error.not_found}'{hint}"))
        except CmdParseError as error:
            said = re.sub(
                r" <class .*| \(parsing options: .*|^Error parsing (Command: )?", "", str(error).splitlines()[0]
            )
            told.refuse(errors.CommandUnfit(f"the options are wrong: {said}", remedy="./doit help run lists them"))
        return code if Reporter.ended is None else Reporter.ended


class Main(doit_cmd.DoitMain):  # type: ignore[misc]
    """doit's own main program, which would take any NAME=VALUE for a setting, and no empty argument at all."""

    BIN_NAME = "./doit"
    DOIT_CMDS = (Run, *(command for command in doit_cmd.DoitMain.DOIT_CMDS if command is not cmd_run.Run))

    def process_args(self, cmd_args: list[str]) -> list[str]:
        settings, others = told.parted(cmd_args)
        doit_cmd.reset_vars()
        for name, value in settings.items():
            doit_cmd.set_var(name, value)
        return others

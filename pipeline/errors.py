"""One class per way to fail. Each says where, what, expected against found, and what to do.

Errors cross process boundaries as JSON, so they hold nothing but text.
"""

from __future__ import annotations

from collections.abc import Iterable

FAILED, REFUSED = 1, 2  # exit codes: something failed; or nothing did, and what was given is refused


class SlipwayError(Exception):
    """A failure that its reader can act on, told in one line.

    :param what: what is wrong, as a sentence without its full stop
    :param file: the file it is about
    :param expected: what was wanted
    :param found: what there was
    :param remedy: what to do next; the class has a default
    :param agent: filled in where the agent is known
    :param hop: filled in where the hop is known
    """

    remedy = ""

    def __init__(
        self,
        what: str,
        *,
        file: object = "",
        expected: object = "",
        found: object = "",
        remedy: str = "",
        agent: str = "",
        hop: str = "",
    ) -> None:
        self.what = what
        self.file = str(file)
        self.expected = str(expected)
        self.found = str(found)
        self.remedy = remedy or type(self).remedy
        self.agent = agent
        self.hop = hop
        super().__init__(what)

    def at(self, *, agent: str = "", hop: str = "", file: object = "") -> SlipwayError:
        """Fill in what the raiser did not know; what it did know stays."""
        self.agent = self.agent or agent
        self.hop = self.hop or hop
        self.file = self.file or str(file)
        return self

    def __str__(self) -> str:
        where = [
            f"{label} {value}"
            for label, value in (("agent", self.agent), ("hop", self.hop), ("file", self.file))
            if value
        ]
        measure = (("expected", self.expected), ("found", self.found))
        compared = ", ".join(f"{label} {value}" for label, value in measure if value)
        sentences = [part for part in (self.what, compared, self.remedy) if part]
        text = " ".join(_sentence(part) for part in sentences)
        line = f"{type(self).__name__}: " + (f"{', '.join(where)}: " if where else "") + text
        return printable(line)

    def to_json(self) -> dict[str, str]:
        """The fields, with the class's name under ``error``."""
        names = ("what", "file", "expected", "found", "remedy", "agent", "hop")
        return {"error": type(self).__name__, **{name: getattr(self, name) for name in names}}


class BadInput(SlipwayError):
    """What was given is refused: whoever gave it corrects it, and Slipway has not failed."""


def printable(text: str) -> str:
    """One line for a terminal: names out of a stranger's file may hold control characters."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _sentence(text: str) -> str:
    """With its full stop, and a capital unless it opens with a name like ``policy_kwargs`` or ``a.zip``."""
    word = text.partition(" ")[0]
    opened = text[:1].upper() + text[1:] if word.isalpha() else text
    return opened if opened.endswith("?") else f"{opened}."


def from_json(fields: dict[str, str]) -> SlipwayError:
    """The error that :meth:`SlipwayError.to_json` took apart."""
    fields = dict(fields)
    known = {cls.__name__: cls for cls in _subclasses(SlipwayError)}
    return known[fields.pop("error")](**fields)


def _subclasses(cls: type[SlipwayError]) -> list[type[SlipwayError]]:
    return [cls] + [leaf for child in cls.__subclasses__() for leaf in _subclasses(child)]


# --- the command line and the config ---------------------------------------------------------------


class CommandUnfit(BadInput):
    remedy = "./doit list shows the agents, kinds and tasks"


class ConfigUnreadable(BadInput):
    remedy = "Mend the TOML at that place"


class ConfigUnknownKey(BadInput):
    remedy = "Correct or remove the key"


class ConfigWrongValue(BadInput):
    remedy = "Change the value in the config"


class AgentNameUnfit(BadInput):
    remedy = "Rename the config: its file name is the agent's name"


class FolderUnfit(BadInput):
    remedy = "Name a folder that holds agents' archives: ./doit folder=PATH"


# --- the agent -------------------------------------------------------------------------------------


class AgentFileMissing(BadInput):
    remedy = "Check `zip` in the config; it is relative to the config's folder"


class HubUnreachable(SlipwayError):
    remedy = "Check the connection and run again; agents that were fetched before stay usable without it"


class HubRepositoryMissing(BadInput):
    remedy = "Check repo_id in [hub]; for a private repository set HF_TOKEN"


class HubRepositoryGated(BadInput):
    remedy = "Accept its conditions on its page with your account, and set HF_TOKEN"


class HubRevisionUnknown(BadInput):
    remedy = "Copy the full commit from the repository's page: Files and versions, History"


class HubFileMissing(BadInput):
    remedy = "Name a file of the repository in [hub]"


class AgentFileDamaged(BadInput):
    remedy = "Fetch or save the file again"


class NotAnAgent(BadInput):
    remedy = "Give the .zip that Stable-Baselines3's `save` wrote"


class PickleRefused(BadInput):
    remedy = "Nothing was executed. Save the agent with Stable-Baselines3's own classes only"


class UnknownAlgorithm(BadInput):
    remedy = "Correct the name in the config"


class UnsupportedPolicy(BadInput):
    remedy = "Leave the agent out; the README says what is supported"


class WeightsUnfit(BadInput):
    remedy = "Take another checkpoint; this one does not belong to its own description"


class WeightsNotFinite(BadInput):
    remedy = "The training diverged: take an earlier checkpoint"


class StatisticsMissing(BadInput):
    remedy = 'Set vecnormalize = "…" or vecnormalize = "none" in the config'


class StatisticsUnfit(BadInput):
    remedy = "Give the vecnormalize.pkl saved with this agent"


class EnvironmentMissing(BadInput):
    remedy = "Install its package, or leave [environment] out: observations then come from statistics"


class EnvironmentUnfit(BadInput):
    remedy = "Name the environment (and wrappers) that the agent was trained in"


class TrainingFailed(BadInput):
    remedy = "Correct [recipe] in the config"


class ObservationsNotFinite(BadInput):
    remedy = "Mend the environment or its wrappers"


# --- hops, runtimes, checks ------------------------------------------------------------------------


class OpsetUnfit(BadInput):
    remedy = "Set onnx.opset = 14 in the config, or leave it out"


class ConverterFailed(SlipwayError):
    remedy = "Read the log; the artifact that was there before is untouched"


class JobTimedOut(SlipwayError):
    remedy = "Raise `timeout` in the config if the work is really that large"


class MemoryExceeded(SlipwayError):
    remedy = "Give a job more, in GiB: ./doit memory=4, and fewer at once where there is no more: -n 1"


class InputsChanged(SlipwayError):
    remedy = "The result is thrown away: run ./doit again, which makes what was changed anew"


class OutputsUnfit(SlipwayError):
    remedy = "The artifact does not hold to its contract: rebuild it, or report the hop"


class TFLiteUnreadable(BadInput):
    remedy = "Give a .tflite file as a TensorFlow Lite converter wrote it"


class InputsUnfit(BadInput):
    remedy = "policy.json lists the inputs with their shapes, dtypes and layouts"


class CheckFailed(SlipwayError):
    remedy = "The artifact stays for inspection, and nothing is built from it"


class NotRun(SlipwayError):
    """Not a failure: the step cannot run here, for the reason given in ``what``."""


def lacking(tool: str, operators: Iterable[str]) -> NotRun:
    """A tool has no such operators, so that there will be no artifact of this kind, nor of what is made from it."""
    return NotRun(f"not supported: {tool} has no operator {', '.join(sorted(set(operators)))}")


# --- the machine -----------------------------------------------------------------------------------


class ToolchainBroken(SlipwayError):
    remedy = "Delete its folder under .toolchains and run ./doit again"


class ArtifactsNotWritable(SlipwayError):
    remedy = "Make the folder writable, or choose another: ./doit artifacts=FOLDER"


class ArtifactsBusy(SlipwayError):
    remedy = "Wait for it to end, or choose another folder: ./doit artifacts=FOLDER"


class DiskFull(SlipwayError):
    remedy = "Free some space and run again; nothing that was built is lost"


class NightlyUnfit(SlipwayError):
    remedy = "./doit nightly [--newest] [--limit 2h] [--keep 14] [--weeks 8] [--into FOLDER] [AGENT…]"


class NightDamaged(SlipwayError):
    remedy = "The nights go on; mend or remove the file if its figures matter"


class NightBroken(SlipwayError):
    remedy = "Read the night's log, and run ./doit nightly again: what is built is kept"


# --- other machines --------------------------------------------------------------------------------


class ClusterUnreachable(SlipwayError):
    remedy = "Start a scheduler there (./doit scheduler), correct cluster=tcp://HOST:PORT, or wait longer: patience=600"


class WorkersMissing(SlipwayError):
    remedy = "Start workers of this very clone with ./doit work tcp://HOST:PORT, or wait longer for them: patience=600"


class WorkersDied(SlipwayError):
    remedy = "Read what the workers printed: mostly their machines ran out of memory. Run again: what is built is kept"


class FolderNotShared(SlipwayError):
    remedy = "Give the workers that folder by the same path, or move files as blobs: ./doit cluster=… blobs=URL"


class BlobsUnfit(SlipwayError):
    remedy = "Check blobs=URL: this machine and the workers must be able to read and write there"


class JobUnwanted(SlipwayError):
    remedy = "Run again"

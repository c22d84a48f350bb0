"""One class per way to fail. Each says where, what, expected against found, and what to do.

What they have in common is in :mod:`pipeline.failing`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.failing import FAILED as FAILED
from pipeline.failing import REFUSED as REFUSED
from pipeline.failing import BadInput as BadInput
from pipeline.failing import SlipwayError as SlipwayError
from pipeline.failing import from_json as from_json
from pipeline.failing import printable as printable

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

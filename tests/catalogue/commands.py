"""Rows of the command line: each is a run of its own."""

from __future__ import annotations

from .agents import SYSTEM
from .row import Bench, Row


def _blocked(bench: Bench) -> None:
    bench.write(b"in the way", "")


def _text(bench: Bench) -> None:
    bench.write(b"no TensorFlow Lite", ".tflite")


def _none(bench: Bench) -> None:
    bench.path("").mkdir()


def _code(bench: Bench) -> None:
    bench.data(observation_space=SYSTEM)


COMMANDS = (
    Row(
        "task",
        "a task that does not exist",
        "CommandUnfit: There is no agent, kind or task 'tfilte'; did you mean 'tflite'? ./doit list shows the agents, kinds and tasks.",
        ask=("tfilte",),
    ),
    Row(
        "task_foreign",
        "a task that resembles none",
        "CommandUnfit: There is no agent, kind or task 'quux'. ./doit list shows the agents, kinds and tasks.",
        ask=("quux",),
    ),
    Row("argument_empty", "an empty argument", "CommandUnfit: An argument is empty. Leave it out.", ask=("",)),
    Row(
        "option",
        "an option that does not exist",
        "CommandUnfit: The options are wrong: option --quick not recognized. ./doit help run lists them.",
        ask=("--quick",),
    ),
    Row(
        "option_value",
        "an option's value",
        "CommandUnfit: The options are wrong: parameter 'num_process'. ./doit help run lists them.",
        ask=("-n", "four"),
    ),
    Row(
        "setting",
        "a setting that does not exist",
        "CommandUnfit: There is no setting 'memroy'; did you mean 'memory'? Correct it; if it is a file, write ./memroy=4.",
        ask=("memroy=4",),
    ),
    Row(
        "setting_foreign",
        "a file with = in its name",
        "CommandUnfit: There is no setting 'lr'; known: {settings}. Correct it; if it is a file, write ./lr=3e-4.zip.",
        ask=("inspect", "lr=3e-4.zip"),
    ),
    Row(
        "setting_empty",
        "a setting without a value",
        "CommandUnfit: The setting 'artifacts' is empty. Give a value, or leave artifacts= out.",
        ask=("artifacts=",),
    ),
    Row(
        "memory_zero",
        "no memory at all",
        "ConfigWrongValue: Memory is a number of GiB above 0. Found 0. Run ./doit memory=4.",
        ask=("memory=0",),
    ),
    Row(
        "memory_text",
        "memory that is no number",
        "ConfigWrongValue: Memory is a number of GiB above 0. Found 4GB. Run ./doit memory=4.",
        ask=("memory=4GB",),
    ),
    Row(
        "verify_true",
        "`verify` is neither yes nor no",
        "ConfigWrongValue: Verify is yes or no. Found true. Run ./doit verify=yes.",
        ask=("verify=true",),
    ),
    Row(
        "cluster_bare",
        "a scheduler that is no address",
        "ConfigWrongValue: Cluster is the address of a scheduler. Run ./doit cluster=tcp://HOST:PORT, perhaps with blobs=s3://BUCKET/FOLDER and patience=600.",
        ask=("cluster=here",),
    ),
    Row(
        "blobs_alone",
        "blobs without a cluster",
        "ConfigWrongValue: Blobs goes with cluster. Run ./doit cluster=tcp://HOST:PORT, perhaps with blobs=s3://BUCKET/FOLDER and patience=600.",
        ask=("blobs=s3://a/b",),
    ),
    Row(
        "blobs_bare",
        "blobs that are no URL",
        "ConfigWrongValue: Blobs is the URL of a folder that this machine and the workers can write to. Run ./doit cluster=tcp://HOST:PORT, perhaps with blobs=s3://BUCKET/FOLDER and patience=600.",
        ask=("cluster=tcp://here:1", "blobs=b"),
    ),
    Row(
        "patience_none",
        "no patience",
        "ConfigWrongValue: Patience is a number of seconds above 0. Run ./doit cluster=tcp://HOST:PORT, perhaps with blobs=s3://BUCKET/FOLDER and patience=600.",
        ask=("cluster=tcp://here:1", "patience=0"),
    ),
    Row(
        "configs_gone",
        "a folder of configs that does not exist",
        "FolderUnfit: file {here}/gone: It does not exist. Name the folder of your configs, ./doit configs=PATH, or have one written: ./doit new FILE.",
        ask=("configs={here}/gone",),
    ),
    Row(
        "configs_none",
        "a folder without configs",
        "FolderUnfit: file {here}/configs_none: It holds no *.toml. Name the folder of your configs, ./doit configs=PATH, or have one written: ./doit new FILE.",
        make=_none,
        ask=("configs={here}/configs_none",),
    ),
    Row(
        "folder_gone",
        "a folder of archives that does not exist",
        "FolderUnfit: file {here}/gone: It does not exist. Name a folder that holds agents' archives: ./doit folder=PATH.",
        ask=("folder={here}/gone",),
    ),
    Row(
        "folder_none",
        "a folder without archives",
        "FolderUnfit: file {here}/folder_none: It holds no *.zip, nor does any folder in it. Name a folder that holds agents' archives: ./doit folder=PATH.",
        make=_none,
        ask=("folder={here}/folder_none",),
    ),
    Row(
        "folder_file",
        "an archive for a folder",
        "FolderUnfit: file {here}/good.zip: It is not a folder. Name a folder that holds agents' archives: ./doit folder=PATH.",
        ask=("folder={here}/good.zip",),
    ),
    Row(
        "baseline_alone",
        "a baseline without a folder",
        "ConfigWrongValue: Baseline is yes or no, and goes with folder. Found yes. Run ./doit folder=PATH baseline=yes.",
        ask=("baseline=yes",),
    ),
    Row(
        "artifacts_file",
        "a file where the artifacts go",
        "ArtifactsNotWritable: file {here}/artifacts_file: Cannot write there (file exists). Make the folder writable, or choose another: ./doit artifacts=FOLDER.",
        make=_blocked,
        ask=("artifacts={here}/artifacts_file",),
        fact=(41,),
    ),
    Row(
        "inspect_nothing",
        "`inspect` of nothing",
        "AgentFileMissing: No file is named. ./doit inspect FILE… [--json].",
        ask=("inspect",),
    ),
    Row(
        "inspect_gone",
        "`inspect` of a file that is not there",
        "AgentFileMissing: {here}/gone.zip does not exist (looked in {here}). Check the path; it is relative to where ./doit is called.",
        ask=("inspect", "{here}/gone.zip"),
    ),
    Row(
        "inspect_code",
        "`inspect` of an archive with code",
        "PickleRefused: file {here}/inspect_code.zip: observation_space: the pickle refers to posix.system, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=_code,
        ask=("inspect", "{here}/inspect_code.zip"),
    ),
    Row(
        "new_nothing",
        "`new` for nothing",
        "AgentFileMissing: Want one archive, and perhaps a name. ./doit new FILE [NAME].",
        ask=("new",),
    ),
    Row(
        "new_gone",
        "`new` for a file that is not there",
        "AgentFileMissing: {here}/gone.zip does not exist (looked in {here}). Check the path; it is relative to where ./doit is called.",
        ask=("new", "{here}/gone.zip"),
    ),
    Row(
        "new_code",
        "`new` for an archive with code",
        "PickleRefused: file {here}/new_code.zip: observation_space: the pickle refers to posix.system, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=_code,
        ask=("new", "{here}/new_code.zip"),
    ),
    Row(
        "new_again",
        "`new` under a name that is taken",
        "AgentNameUnfit: file {here}/good.toml: A config of that name is there already. Give another name: ./doit new FILE NAME.",
        ask=("new", "{here}/good.zip", "good"),
    ),
    Row(
        "new_unfit",
        "`new` under a name that cannot be one",
        "AgentNameUnfit: The agent needs another name. Expected letters, digits, '-' and '_', at most 64, and not the name of a task, found '../x'. Give one: ./doit new FILE NAME.",
        ask=("new", "{here}/good.zip", "../x"),
        fact=(39,),
    ),
    Row(
        "coral_nothing",
        "`coral` of nothing",
        "TFLiteUnreadable: No file is named. ./doit coral FILE… [--json].",
        ask=("coral",),
    ),
    Row(
        "coral_gone",
        "`coral` of a file that is not there",
        "TFLiteUnreadable: file {here}/gone.tflite: It cannot be opened (No such file or directory). Give a .tflite file as a TensorFlow Lite converter wrote it.",
        ask=("coral", "{here}/gone.tflite"),
    ),
    Row(
        "coral_text",
        "`coral` of something else",
        "TFLiteUnreadable: file {here}/coral_text.tflite: It is not a TFLite file. Expected b'TFL3' at byte 4, found 18 bytes with b'enso' there. Give a .tflite file as a TensorFlow Lite converter wrote it.",
        make=_text,
        ask=("coral", "{here}/coral_text.tflite"),
    ),
)

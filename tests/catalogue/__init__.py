"""The catalogue of bad input: what is wrong, and the line that ./doit answers with, to the letter."""

from .agents import ARCHIVES, ENVIRONMENTS, FAILURES, STATISTICS
from .commands import COMMANDS
from .configs import CONFIGS
from .row import Answer

GROUPS = {
    "The command line": COMMANDS,
    "The config": CONFIGS,
    "The archive": ARCHIVES,
    "The statistics": STATISTICS,
    "The environment, the interpreter, and observations of your own": ENVIRONMENTS,
    "What fails though nothing given is wrong": FAILURES,
}
ROWS = [row for rows in GROUPS.values() for row in rows]
IN_ONE_RUN = [row for row in ROWS if not row.ask and row.code == 2]

ANSWERS = (
    Answer(
        "code under a key of the archive that no build needs",
        "nothing: the key is never read; `./doit inspect` lists what it refers to",
        (14,),
    ),
    Answer(
        "several inputs for a target that takes one",
        "nothing: every target takes a Dict's parts as inputs of their own, and a recurrent policy's states; where a tool lacks an operator, the table says `not run`",
        (23, 28),
    ),
    Answer("`edgetpu` without int8", "nothing: a target brings along what it is made from", (37,)),
    Answer("nothing to calibrate int8 on", "the table says `not run`, and what to set in `[calibration]`", (40,)),
    Answer(
        "the folder of the artifacts cannot be written to",
        "ArtifactsNotWritable, as above, and exit code 2 where the run cannot begin",
        (41,),
    ),
    Answer(
        "the disk is full",
        "DiskFull: The disk is full. Found … free. Free some space and run again; nothing that was built is lost. Exit code 1",
        (42,),
    ),
    Answer(
        "another run is at the same artifacts",
        "ArtifactsBusy: Another run (pid …, since …) holds …. Wait for it to end, or choose another folder: ./doit artifacts=FOLDER. Exit code 2",
        (43,),
    ),
    Answer("Node is missing or too old", "nothing: Slipway installs the one that it is locked to", (44,)),
    Answer("`edgetpu_compiler` is missing", "the table says `not run`, and predicts what would map", (45,)),
    Answer(
        "an operator that a converter lacks",
        "the table says `not run: not supported: TOOL has no operator NAME`",
        (46,),
    ),
    Answer(
        "a converter crashes",
        "ConverterFailed: … died by SIGSEGV, twice. Read the log; the artifact that was there before is untouched. Exit code 1",
        (47,),
    ),
    Answer(
        "a step takes more memory than it may",
        "MemoryExceeded: … was stopped as it grew past its share of memory, twice. Expected at most … GiB. Exit code 1",
        (48,),
    ),
    Answer(
        "an artifact was edited by hand, or a converter changed its input",
        "nothing: its digest is not the manifest's, and it is built again",
        (50, 51),
    ),
    Answer(
        "another version in a toolchain than in its lock",
        "nothing: a toolchain's folder is named by its lock's digest, and is made from it alone",
        (52,),
    ),
    Answer("ONNX with external data", "nothing: no ONNX file is input; Slipway's own have none", (53,)),
    Answer("a database of doit that is damaged", "nothing: there is none; the manifests say what is up to date", (54,)),
)

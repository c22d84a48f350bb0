"""What Google's Edge TPU compiler will make of a TFLite file, told without it.

    python -m pipeline.hops.edgetpu_lint FILE… [--json]

Three things decide. Whether the compiler takes the file at all; which operators have nothing against them
(:mod:`pipeline.hops.edgetpu_rules` lists what is known, and whence); and that it makes one Edge TPU subgraph, no more.
That subgraph is found as TensorFlow Lite finds those of a delegate: operators that have nothing against them and read
only what the file's inputs or the subgraph itself give, from the first such operator on. What reads the result of an
operator that stays on the CPU is stranded there, whatever it is; a parallel branch is not, even when it comes later.
The pair deeplabv3_mnv2_dm05_pascal_quant shows it: inside its one custom operator is a convolution that is executed
after the first operator left on the CPU. Operators before the subgraph (a QUANTIZE from float, say) stay on the CPU
too; published logs of models with float inputs show that.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline import errors
from pipeline.hops import edgetpu_memory, edgetpu_rules, tflite_graph
from pipeline.hops.edgetpu_memory import Memory
from pipeline.hops.tflite_graph import Graph, Operator
from pipeline.hops.tflite_structure import EDGETPU_OPERATOR

Outcome = Literal["all", "part", "nothing", "refused", "compiled"]
UNSIZED = ("WHERE", "UNIQUE")  # how large their result is depends on its values


@dataclass(frozen=True)
class Finding:
    """Where an operator will run.

    :param number: from 1, in execution order
    :param maps: whether on the Edge TPU
    :param reason: why not
    :param doubt: why perhaps not, although nothing is known against it
    """

    number: int
    operator: str
    maps: bool
    reason: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Prediction:
    """
    :param outcome: "all" or "part" of the operators map, or "nothing"; "refused": the compiler takes no such file;
        "compiled": it is one that the compiler wrote
    :param why: of what is refused
    :param memory: of the part that maps
    """

    outcome: Outcome
    operators: tuple[Finding, ...]
    memory: Memory
    why: str = ""

    @property
    def mapped(self) -> int:
        return sum(finding.maps for finding in self.operators)

    @property
    def left(self) -> list[str]:
        """Operators that stay on the CPU, in execution order."""
        return [finding.operator for finding in self.operators if not finding.maps]

    @property
    def doubtful(self) -> bool:
        return any(finding.doubt for finding in self.operators)

    @property
    def sentence(self) -> str:
        """The outcome in one line."""
        count = len(self.operators)
        perhaps = ", perhaps fewer" if self.doubtful else ""
        first = next((finding for finding in self.operators if finding.reason), None)
        stays = f"{first.number} {first.operator} stays on the CPU ({first.reason})" if first else ""
        if self.outcome == "refused":
            return f"the compiler refuses it: {self.why}"
        if self.outcome == "compiled":
            return f"compiled already; on the CPU: {', '.join(self.left) or 'nothing'}"
        if self.outcome == "nothing":
            return f"no operator maps: {stays}" if count else "no operator maps: it has none"
        if self.outcome == "part":
            return f"{self.mapped} of {count} operators map{perhaps}, {self.memory.sentence}; {stays}"
        every = f"all {count} operators map" if count > 1 else "its one operator maps"
        return f"{every}{perhaps}, {self.memory.sentence}"

    def to_json(self) -> dict[str, Any]:
        """Fields, counts and the sentence, JSON-ready; of the memory, bytes."""
        memory = {"parameters": self.memory.parameters, "left": self.memory.left, "streamed": self.memory.streamed}
        return {
            "outcome": self.outcome,
            "why": self.why,
            "sentence": self.sentence,
            "mapped": self.mapped,
            "left": self.left,
            "memory": {**memory, "on_chip": edgetpu_memory.ON_CHIP},
            "operators": [asdict(finding) for finding in self.operators],
        }


def predict(content: bytes) -> Prediction:
    """What will become of a file.

    :param content: a ``.tflite`` file; of several subgraphs the first is looked at
    :raises errors.TFLiteUnreadable: it is none, or damaged
    """
    graph = tflite_graph.read(content)
    if any(operator.name == EDGETPU_OPERATOR for operator in graph.operators):
        return Prediction("compiled", _compiled(graph), Memory(0))
    refused = _refused(graph)
    if refused:
        every = tuple(Finding(n, operator.name, False) for n, operator in enumerate(graph.operators, 1))
        return Prediction("refused", every, Memory(0), refused)
    reasons = [edgetpu_rules.reason(graph, operator) for operator in graph.operators]
    mapped = _subgraph(graph, reasons)
    behind = _stranded(graph, reasons, mapped)
    findings = tuple(
        Finding(n + 1, operator.name, True, doubt=edgetpu_rules.doubt(graph, operator))
        if n in mapped
        else Finding(n + 1, operator.name, False, reasons[n] or behind[n])
        for n, operator in enumerate(graph.operators)
    )
    outcome: Outcome = "nothing" if not mapped else "all" if len(mapped) == len(findings) else "part"
    return Prediction(outcome, findings, edgetpu_memory.needed(graph, mapped))


def _compiled(graph: Graph) -> tuple[Finding, ...]:
    return tuple(
        Finding(n, operator.name, operator.name == EDGETPU_OPERATOR) for n, operator in enumerate(graph.operators, 1)
    )


def _refused(graph: Graph) -> str:
    """Why the compiler takes no such file; "" where nothing is known against it."""
    for number, operator in enumerate(graph.operators, 1):
        told = edgetpu_rules.unknown(operator) or _unsized(graph, operator)
        if told:
            return f"{told} (operator {number})"
    outputs = (graph.tensors[n] for operator in graph.operators for n in operator.outputs if n >= 0)
    if graph.operators and not any(t.dtype in edgetpu_rules.EIGHT_BITS and t.scale for t in outputs):
        # Reported of compilers 14 to 16: "Model not quantized", or a file in which nothing is mapped.
        return "it is not quantized to 8 bits: no operator gives 8-bit integers"
    return ""


def _unsized(graph: Graph, operator: Operator) -> str:
    """Why a tensor has no constant size: it is not written, or it is told by numbers that are computed."""
    name = operator.name
    if any(length < 0 for n in (*operator.inputs, *operator.outputs) if n >= 0 for length in graph.tensors[n].shape):
        return f"a tensor of {name} has no constant size"
    if name in UNSIZED:
        return f"the size of what {name} gives depends on its values"
    places = [place for place in edgetpu_rules.SHAPED_BY.get(name, ()) if place < len(operator.inputs)]
    tellers = [graph.tensors[operator.inputs[place]] for place in places if operator.inputs[place] >= 0]
    return f"the size of what {name} gives is computed, not constant" if any(t.data is None for t in tellers) else ""


def _subgraph(graph: Graph, reasons: list[str]) -> set[int]:
    """The operators of the one Edge TPU subgraph: a delegate's first, as TensorFlow Lite partitions a graph."""
    written = {place for operator in graph.operators for place in operator.outputs if place >= 0}

    def gather(on_cpu: bool) -> set[int]:
        found = set()
        for number, operator in enumerate(graph.operators):
            if bool(reasons[number]) == on_cpu and not written.intersection(operator.inputs):
                found.add(number)
                written.difference_update(operator.outputs)
        return found

    if reasons and reasons[0]:
        gather(on_cpu=True)  # what can run before the Edge TPU begins
    return gather(on_cpu=False)


def _stranded(graph: Graph, reasons: list[str], mapped: set[int]) -> dict[int, str]:
    """Of operators with nothing against them that do not map: behind which operator they stand."""
    writer = {place: n for n, operator in enumerate(graph.operators) for place in operator.outputs}
    culprit: dict[int, int] = {}
    told = {}
    for number, operator in enumerate(graph.operators):
        if number in mapped or reasons[number]:
            culprit[number] = number
            continue
        before = [writer[place] for place in operator.inputs if place in writer]
        culprit[number] = next((culprit[n] for n in before if n not in mapped), number)
        blocker = culprit[number]
        told[number] = f"supported, but stranded behind {blocker + 1} {graph.operators[blocker].name}"
    return told


def text(file: str, prediction: Prediction) -> str:
    """A line for each operator, the memory, and the outcome; control characters of the file's names are escaped."""
    wide = max((len(finding.operator) for finding in prediction.operators), default=0)
    lines = [file]
    for finding in prediction.operators:
        where = "Edge TPU" if finding.maps else "-" if prediction.outcome == "refused" else "CPU"
        why = finding.reason or finding.doubt
        lines.append(f"{finding.number:4}  {finding.operator:{wide}}  {where:8}  {why}".rstrip())
    if prediction.outcome in ("all", "part"):
        memory, size = prediction.memory, edgetpu_memory.size
        streamed = f"at least {size(memory.streamed)} streamed" if memory.streamed else "nothing streamed"
        lines.append(f"parameters: about {size(memory.parameters)}, {size(memory.left)} left on the chip, {streamed}")
    good = prediction.outcome in ("all", "part", "compiled")
    lines.append(f"{'✓' if good else '✗'} {prediction.sentence}")
    return "\n".join(errors.printable(line) for line in lines)


def main(arguments: list[str]) -> int:
    """Print what will become of each file; 1 where one cannot be read, is refused, or would not be mapped at all."""
    as_json = "--json" in arguments
    failed = False
    for number, name in enumerate(argument for argument in arguments if argument != "--json"):
        try:
            prediction = predict(tflite_graph.read_file(Path(name)))
        except errors.SlipwayError as error:
            failed = True
            told = str(error.at(file=name))
            print(json.dumps({"file": name, "refusal": error.to_json()}) if as_json else "\n" * bool(number) + told)
            continue
        failed |= prediction.outcome in ("nothing", "refused")
        said = {"file": name, **prediction.to_json()}
        print(json.dumps(said, ensure_ascii=False) if as_json else "\n" * bool(number) + text(name, prediction))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

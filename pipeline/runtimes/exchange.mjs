// Tensors as raw little-endian files with a JSON list: the Node side of raw.py.
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** Answer every job of standard input: run takes [{name, shape, dtype, values}], and gives a list of the same form. */
export async function answerJobs(run) {
  for await (const folder of readline.createInterface({ input: process.stdin })) {
    writeOutputs(folder, await run(readInputs(folder)));
    process.stdout.write("done\n");
  }
}

function readInputs(folder) {
  const { inputs } = JSON.parse(fs.readFileSync(path.join(folder, "job.json"), "utf8"));
  for (const input of inputs) {
    const bytes = fs.readFileSync(path.join(folder, input.file));
    input.values = new ARRAYS[input.dtype](new Uint8Array(bytes).buffer);
  }
  return inputs;
}

function writeOutputs(folder, outputs) {
  const list = outputs.map(({ name, shape, dtype, values }, index) => {
    const typed = ARRAYS[dtype].from(values);
    fs.writeFileSync(path.join(folder, `out${index}`), Buffer.from(typed.buffer));
    return { name, shape, dtype, file: `out${index}` };
  });
  fs.writeFileSync(path.join(folder, "outputs.json"), JSON.stringify(list));
}

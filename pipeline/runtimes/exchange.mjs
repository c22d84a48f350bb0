// Tensors as raw little-endian files with a JSON list: the Node side of raw.py.
import fs from "node:fs";
import path from "node:path";

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
};

/** The job in a folder: {model, outputs, inputs: [{name, shape, dtype, values}]}. */
export function readJob(folder) {
  const job = JSON.parse(fs.readFileSync(path.join(folder, "job.json"), "utf8"));
  for (const input of job.inputs) {
    const bytes = fs.readFileSync(path.join(folder, input.file));
    input.values = new ARRAYS[input.dtype](new Uint8Array(bytes).buffer);
  }
  return job;
}

/** Write outputs [{name, shape, dtype, values}] beside the job. */
export function writeOutputs(folder, outputs) {
  const list = outputs.map(({ name, shape, dtype, values }, index) => {
    const typed = ARRAYS[dtype].from(values);
    fs.writeFileSync(path.join(folder, `out${index}`), Buffer.from(typed.buffer));
    return { name, shape, dtype, file: `out${index}` };
  });
  fs.writeFileSync(path.join(folder, "outputs.json"), JSON.stringify(list));
}

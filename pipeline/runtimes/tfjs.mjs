// node tfjs.mjs TOOLCHAIN JOB: a TensorFlow.js graph model on the inputs of a job (see raw.py).
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { readJob, writeOutputs } from "./exchange.mjs";

const [toolchain, folder] = process.argv.slice(2);
const tf = createRequire(path.join(toolchain, "package.json"))("@tensorflow/tfjs");
const job = readJob(folder);

// Node's fetch reads no files, so the artifact is handed over as TensorFlow.js's own in-memory form.
const model = JSON.parse(fs.readFileSync(job.model, "utf8"));
const shards = model.weightsManifest.flatMap((group) => group.paths);
const weights = Buffer.concat(shards.map((shard) => fs.readFileSync(path.join(path.dirname(job.model), shard))));
const artifacts = {
  ...model,
  weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
  weightData: new Uint8Array(weights).buffer,
};

await tf.setBackend("cpu");
const policy = await tf.loadGraphModel(tf.io.fromMemory(artifacts));
const answers = policy.predict(
  Object.fromEntries(job.inputs.map(({ name, shape, dtype, values }) => [name, tf.tensor(values, shape, dtype)])),
);
writeOutputs(
  folder,
  Object.entries(answers).map(([name, tensor]) => ({
    name,
    shape: tensor.shape,
    dtype: tensor.dtype,
    values: tensor.dataSync(),
  })),
);

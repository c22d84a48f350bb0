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
const inputs = Object.fromEntries(
  job.inputs.map(({ name, shape, dtype, values }) => [name, tf.tensor(values, shape, dtype)]),
);
const names = Object.fromEntries(
  Object.entries(policy.modelSignature.outputs).map(([name, tensor]) => [name, tensor.name]),
);
const feeds = Object.fromEntries(
  Object.entries(inputs).map(([name, tensor]) => [policy.modelSignature.inputs[name].name, tensor]),
);
const answers = policy.execute(feeds, job.outputs.map((name) => names[name] ?? name));
const tensors = Array.isArray(answers) ? answers : [answers];
writeOutputs(
  folder,
  tensors.map((tensor, index) => ({
    name: job.outputs[index],
    shape: tensor.shape,
    dtype: tensor.dtype,
    values: tensor.dataSync(),
  })),
);

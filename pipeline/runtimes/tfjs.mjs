// node tfjs.mjs TOOLCHAIN MODEL: a TensorFlow.js graph model, for jobs on standard input (see raw.py).
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { answerJobs } from "./exchange.mjs";

const [toolchain, file] = process.argv.slice(2);
const tf = createRequire(path.join(toolchain, "package.json"))("@tensorflow/tfjs");

// Node's fetch reads no files, so the artifact is handed over as TensorFlow.js's own in-memory form.
const model = JSON.parse(fs.readFileSync(file, "utf8"));
const shards = model.weightsManifest.flatMap((group) => group.paths);
const weights = Buffer.concat(shards.map((shard) => fs.readFileSync(path.join(path.dirname(file), shard))));
const artifacts = {
  ...model,
  weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
  weightData: new Uint8Array(weights).buffer,
};

await tf.setBackend("cpu");
const policy = await tf.loadGraphModel(tf.io.fromMemory(artifacts));
await answerJobs((inputs) => {
  const feeds = inputs.map(({ name, shape, dtype, values }) => [name, tf.tensor(values, shape, dtype)]);
  const answers = policy.predict(Object.fromEntries(feeds));
  return Object.entries(answers).map(([name, tensor]) => ({
    name,
    shape: tensor.shape,
    dtype: tensor.dtype,
    values: tensor.dataSync(),
  }));
});

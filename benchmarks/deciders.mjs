// node deciders.mjs tfjs|ortweb TOOLCHAIN FOLDER OBSERVATIONS WIDTH: as deciders.py, for the runtimes of the web.
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { createRequire } from "node:module";

const [method, toolchain, folder, observations, width] = process.argv.slice(2);
const load = createRequire(path.join(toolchain, "package.json"));

/** TensorFlow.js on its plain JavaScript backend, which is what it has in Node without a native module. */
async function tfjs() {
  const tf = load("@tensorflow/tfjs");
  const model = JSON.parse(fs.readFileSync(path.join(folder, "model.json"), "utf8"));
  const shards = model.weightsManifest.flatMap((group) => group.paths);
  const weights = Buffer.concat(shards.map((shard) => fs.readFileSync(path.join(folder, shard))));
  const weightSpecs = model.weightsManifest.flatMap((group) => group.weights);
  await tf.setBackend("cpu");
  const artifacts = { ...model, weightSpecs, weightData: new Uint8Array(weights).buffer };
  const policy = await tf.loadGraphModel(tf.io.fromMemory(artifacts));
  return {
    prepare: (rows, count) => ({ observation: tf.tensor2d(rows, [count, Number(width)]) }),
    decide: (feeds) => {
      const answers = policy.predict(feeds);
      const action = answers.action.dataSync();
      Object.values(answers).forEach((tensor) => tensor.dispose());
      return action;
    },
  };
}

/** ONNX Runtime Web: WebAssembly, one thread. */
async function ortweb() {
  const ort = load("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  const file = fs.readFileSync(path.join(folder, "policy.onnx"));
  const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  return {
    prepare: (rows, count) => ({ observation: new ort.Tensor("float32", rows, [count, Number(width)]) }),
    decide: async (feeds) => (await session.run(feeds, ["action"])).action.data,
  };
}

const bytes = fs.readFileSync(observations);
const all = new Float32Array(new Uint8Array(bytes).buffer);
const count = all.length / width;
const { prepare, decide } = await { tfjs, ortweb }[method]();
const taken = (first, batch) => prepare(all.slice(first * width, (first + batch) * width), batch);

async function timed(batch, seconds) {
  const ready = [];
  for (let first = 0; first + batch <= count; first += batch) ready.push(taken(first, batch));
  await decide(ready[ready.length - 1]);
  const found = [];
  const end = process.hrtime.bigint() + BigInt(Math.round(seconds * 1e9));
  for (let turn = 0; ; turn++) {
    const begun = process.hrtime.bigint();
    await decide(ready[turn % ready.length]);
    const ended = process.hrtime.bigint();
    found.push(Number(ended - begun));
    if (ended > end) return found;
  }
}

await decide(taken(0, 1));
process.stdout.write("ready\n");
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [what, batch, seconds] = line.split(" ");
  let answer = [];
  if (what === "act") for (let row = 0; row < count; row++) answer.push(Array.from(await decide(taken(row, 1)), Number));
  else answer = await timed(Number(batch), Number(seconds));
  process.stdout.write(JSON.stringify(answer) + "\n");
}
process.exit(0);

// node ortweb.mjs TOOLCHAIN MODEL: an ONNX file in ONNX Runtime Web, for jobs on standard input (see raw.py).
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { answerJobs } from "./exchange.mjs";

const [toolchain, model] = process.argv.slice(2);
const ort = createRequire(path.join(toolchain, "package.json"))("onnxruntime-web");

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(fs.readFileSync(model), { executionProviders: ["wasm"] });
await answerJobs(async (inputs) => {
  const feeds = inputs.map(({ name, shape, dtype, values }) => [name, new ort.Tensor(dtype, values, shape)]);
  const answers = await session.run(Object.fromEntries(feeds));
  return Object.entries(answers).map(([name, { dims, type, data }]) => ({
    name,
    shape: [...dims],
    dtype: type,
    values: data,
  }));
});

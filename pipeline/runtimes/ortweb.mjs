// node ortweb.mjs TOOLCHAIN JOB: an ONNX file in ONNX Runtime Web on the inputs of a job (see raw.py).
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { readJob, writeOutputs } from "./exchange.mjs";

const [toolchain, folder] = process.argv.slice(2);
const ort = createRequire(path.join(toolchain, "package.json"))("onnxruntime-web");
const job = readJob(folder);

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(fs.readFileSync(job.model), { executionProviders: ["wasm"] });
const feeds = Object.fromEntries(
  job.inputs.map(({ name, shape, dtype, values }) => [name, new ort.Tensor(dtype, values, shape)]),
);
const answers = await session.run(feeds);
writeOutputs(
  folder,
  Object.entries(answers).map(([name, { dims, type, data }]) => ({ name, shape: [...dims], dtype: type, values: data })),
);

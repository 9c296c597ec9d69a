// Evaluates a TensorFlow.js graph model with TensorFlow.js itself, on its WebAssembly backend.
//
// Usage: node tfjs_runtime.cjs JOB, a JSON file that names the runtime's files, the model's files, the input and the
// tensors wanted. Raw little-endian arrays go in and out, in files beside the job; shapes are printed as JSON.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

// The published bundles are CommonJS modules that ask for each other by package name.
const tf = {};

function load(file) {
  const inner = (name) => (name.startsWith('@tensorflow/') ? tf : require(name));
  const names = ['exports', 'module', 'require', '__dirname', '__filename'];
  const bundle = new Function(...names, fs.readFileSync(file, 'utf8'));
  const module = { exports: {} };
  bundle.call(globalThis, module.exports, module, inner, path.dirname(file), file);
  for (const name of Object.keys(module.exports)) {
    if (!(name in tf)) Object.defineProperty(tf, name, { get: () => module.exports[name], enumerable: true });
  }
}

function modelFrom(topologyFile, weightsFile) {
  const description = JSON.parse(fs.readFileSync(topologyFile, 'utf8'));
  const weights = fs.readFileSync(weightsFile);
  return tf.loadGraphModel({
    load: async () => ({
      modelTopology: description.modelTopology,
      signature: description.signature,
      weightSpecs: description.weightsManifest.flatMap((group) => group.weights),
      weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.byteLength),
    }),
  });
}

function floatsFrom(file) {
  const bytes = fs.readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

async function main(jobFile) {
  const job = JSON.parse(fs.readFileSync(jobFile, 'utf8'));
  job.runtime.forEach(load);
  // One binary is enough: SIMD, one thread. The other two are never opened, but must be named.
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  const names = ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm', 'tfjs-backend-wasm-threaded-simd.wasm'];
  tf.setWasmPaths(Object.fromEntries(names.map((name) => [name, job.binary])));
  if (!(await tf.setBackend('wasm'))) throw new Error('the WebAssembly backend of TensorFlow.js did not start');

  const model = await modelFrom(job.topology, job.weights);
  const input = tf.tensor(floatsFrom(job.input.file), job.input.shape);
  // The graphs were exported for one picture at a time.
  const pictures = tf.split(input, job.input.shape[0], 0);
  const answers = [];
  for (const picture of pictures) answers.push(model.execute({ [job.input.name]: picture }, job.outputs.map((o) => o.name)));

  const shapes = {};
  for (const [i, output] of job.outputs.entries()) {
    const tensors = answers.map((answer) => (Array.isArray(answer) ? answer[i] : answer));
    const whole = tf.cast(tf.concat(tensors, 0), 'float32');
    fs.writeFileSync(output.file, Buffer.from((await whole.data()).buffer));
    shapes[output.name] = whole.shape;
  }
  process.stdout.write(JSON.stringify(shapes));
}

main(process.argv[2]).catch((error) => {
  process.stderr.write(`${error.stack || error}\n`);
  process.exit(1);
});

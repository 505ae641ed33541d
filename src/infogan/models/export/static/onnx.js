// The back end of an exported page: the model runs in this browser, by onnxruntime-web.

const MAX_PIXELS = 2 ** 25; // of an image that is read
export const description = self.model ?? { codes: [], noise: {}, images: { shape: [1, 1] } };
const { noise: latent, images } = description;
const [channels, side] = images.shape;
const imageSize = channels * side ** 2; // in numbers
const batchSize = Math.max(1, Math.round(2 ** 15 / side ** 2)); // images that are computed without a pause

// The model. Its files are scripts that a page on a disk can load, too: base64 of gzip.

async function unpack(name) {
  const bytes = Uint8Array.from(atob(self.parts[name]), (letter) => letter.charCodeAt(0));
  delete self.parts[name];
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
}

const sessions = {};
const sessionOf = (name) => sessions[name] ??= unpack(`${name}.onnx`).then((bytes) => self.ort.InferenceSession.create(bytes));
let previous = Promise.resolve(); // sessions share one memory, so they run one after the other

function run(name, inputs) {
  const result = previous.catch(() => {}).then(async () => (await sessionOf(name)).run(inputs));
  previous = result;
  return result;
}

const missing = (...names) => {
  const loaded = { 'model.js': self.model, 'runtime.js': self.ort, 'runtime.wasm.js': self.parts?.['runtime.wasm'] };
  const name = names.find((key) => !loaded[key]);
  return name && `The file ${name}, which belongs next to this page, is missing or damaged.`;
};
export const missingModel = missing('model.js');

// Resolves once the runtime is ready; rejects with what is wrong.
export const runtime = new Promise((resolve) => { addEventListener('load', resolve) }).then(async () => {
  const message = missing('runtime.js', 'runtime.wasm.js');
  if (message) throw new Error(message);
  try {
    Object.assign(self.ort.env.wasm, { numThreads: 1, proxy: false, wasmBinary: await unpack('runtime.wasm') });
    self.ort.env.logLevel = 'error';
    await sessionOf('generator');
  } catch (error) {
    throw new Error(`This browser cannot run the model: ${error.message}`);
  }
});
runtime.catch(() => {}); // shown by whatever draws

// Generates images in [0, 1], one after the other, for a list of { codes, noise }.
async function generateImages(inputs) {
  const count = inputs.length, flat = new Float32Array(count * latent.size);
  inputs.forEach((input, i) => flat.set(input.noise, i * latent.size));
  const tensors = { [latent.input]: new self.ort.Tensor('float32', flat, [count, latent.size]) };
  description.codes.forEach((code, position) => {
    const column = inputs.map((input) => input.codes[position]);
    tensors[code.input] = code.values
      ? new self.ort.Tensor('int64', BigInt64Array.from(column, BigInt), [count])
      : new self.ort.Tensor('float32', Float32Array.from(column), [count]);
  });
  return (await run('generator', tensors))[images.name].data;
}

// Predicts each code of one image with values in [0, 1]: { probabilities } or { mean, deviation }.
async function predict(pixels) {
  const results = await run('recognizer', { [images.name]: new self.ort.Tensor('float32', pixels, [1, channels, side, side]) });
  return description.codes.map(({ outputs }) => Object.fromEntries(
    Object.entries(outputs).map(([what, name]) => [what, [...results[name].data]])));
}

// The noise with index `pick` of a seed: always the same. Mixing as in MurmurHash3, generator mulberry32.
function noiseOf(seed, pick) {
  let current = mixed(mixed(seed) + Math.imul(pick + 1, 0x9e3779b9));
  const uniform = () => {
    current = (current + 0x6d2b79f5) | 0;
    let t = Math.imul(current ^ (current >>> 15), 1 | current);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const sample = latent.distribution === 'normal'
    ? () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()) // Box and Muller
    : () => 2 * uniform() - 1;
  return Float32Array.from({ length: latent.size }, sample);
}

function mixed(number) {
  let hash = Math.imul(number ^ (number >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

// Noise between two others: normal noise along the great circle, uniform noise along the line.
function blended(start, end, way) {
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  let shares = [1 - way, way];
  if (latent.distribution === 'normal') {
    const angle = Math.acos(Math.min(1, Math.max(-1, dot(start, end) / Math.sqrt(dot(start, start) * dot(end, end)))));
    if (angle > 1e-4) shares = shares.map((share) => Math.sin(share * angle) / Math.sin(angle));
  }
  return start.map((value, i) => shares[0] * value + shares[1] * end[i]);
}

function viewNoise({ seed, towards, way }, pick) {
  const start = noiseOf(seed, pick);
  return way === 0 ? start : blended(start, noiseOf(towards, pick), way);
}

self.infogan = { noise: noiseOf, generate: generateImages, read: predict }; // for scripts that users add

// Tables, as `render.py` of the package draws them.

function axisValues({ codes, zoom }, axis, count) {
  if (axis < 0) return Array(count).fill(0);
  const { order } = description.codes[axis], centre = codes[axis];
  if (order) {
    const first = Math.min(Math.max(order.indexOf(centre) - Math.floor(count / 2), 0), Math.max(order.length - count, 0));
    return order.slice(first, first + count);
  }
  const half = 1 / zoom, middle = Math.min(Math.max(centre, half - 1), 1 - half);
  return Array.from({ length: count }, (_, i) => Math.round(1e4 * (middle - half + (2 * half * i) / (count - 1))) / 1e4);
}

// The codes and the noise of each image of a table, row by row.
function tableInputs(request, across, down) {
  return down.flatMap((rowValue, row) => across.map((columnValue, column) => {
    const codes = [...request.codes];
    let { pick } = request;
    if (request.across >= 0) codes[request.across] = columnValue;
    else pick += column;
    if (request.down >= 0) codes[request.down] = rowValue;
    else pick += row * (request.across < 0 ? across.length : 1);
    return { codes, noise: viewNoise(request, pick) };
  }));
}

const canvases = {}; // by channel; a new table is drawn over the old one

function canvasOf(name, columns, rows) {
  const canvas = canvases[name] ??= document.createElement('canvas'), width = columns * side, height = rows * side;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return canvas;
}

function put(canvas, pixels, column = 0, row = 0) {
  const context = canvas.getContext('2d'), image = context.createImageData(side, side), plane = side ** 2;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = 255 * pixels[(c % channels) * plane + i]; // this rounds
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, column * side, row * side);
}

// An image of the user, in the form of the model's images, as the package converts it: the largest square in the middle,
// white where it is transparent, resampled by Lanczos.
async function pixelsOf(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none' });
  if (bitmap.width * bitmap.height > MAX_PIXELS) throw new Error(`it has more than ${MAX_PIXELS} pixels`);
  const square = Math.min(bitmap.width, bitmap.height), canvas = document.createElement('canvas');
  Object.assign(canvas, { width: square, height: square });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#fff';
  context.fillRect(0, 0, square, square);
  context.drawImage(bitmap, -Math.floor((bitmap.width - square) / 2), -Math.floor((bitmap.height - square) / 2));
  const { data } = context.getImageData(0, 0, square, square), planes = new Float32Array(imageSize);
  for (let c = 0; c < channels; c++) {
    const plane = Float32Array.from({ length: square * square }, (_, i) => (channels === 1
      ? (19595 * data[4 * i] + 38470 * data[4 * i + 1] + 7471 * data[4 * i + 2] + 32768) >> 16 // ITU-R 601
      : data[4 * i + c]));
    planes.set(resampled(plane, square).map((value) => value / 255), c * side * side);
  }
  return planes;
}

// A square plane at the model's size: along rows, then along columns, rounded after each.
function resampled(plane, square) {
  if (square === side) return plane;
  const scale = square / side, width = Math.max(scale, 1);
  const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
  const taps = Array.from({ length: side }, (_, i) => {
    const middle = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(middle - 3 * width + 0.5)), end = Math.min(square, Math.floor(middle + 3 * width + 0.5));
    const weights = Array.from({ length: end - first }, (_, j) => {
      const x = (first + j - middle + 0.5) / width;
      return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
    });
    const sum = weights.reduce((a, b) => a + b);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
  const along = (value, lines) => {
    const result = new Float32Array(lines * side);
    for (let line = 0; line < lines; line++) {
      taps.forEach(({ first, weights }, i) => {
        const sum = weights.reduce((total, weight, j) => total + weight * value(line, first + j), 0);
        result[line * side + i] = Math.min(255, Math.max(0, Math.round(sum)));
      });
    }
    return result;
  };
  const rows = along((row, i) => plane[row * square + i], square);
  const columns = along((column, i) => rows[i * side + column], side);
  return Float32Array.from({ length: side * side }, (_, i) => columns[(i % side) * side + Math.floor(i / side)]);
}

// See `begin` in steer.js.
export const onnxBackend = {
  // Draws the centre first, then the table in batches, so that a slider that is dragged meanwhile reacts.
  async draw(request, show, isOutdated) {
    await runtime;
    const across = axisValues(request, request.across, request.columns), down = axisValues(request, request.down, request.rows);
    const drawn = { across, down, image: canvasOf(request.channel, across.length, down.length) };
    if (request.centre !== undefined) {
      drawn.centre = canvasOf('centre', 1, 1);
      put(drawn.centre, await generateImages([{ codes: request.codes, noise: viewNoise(request, request.centre) }]));
      show(drawn);
    }
    const inputs = tableInputs(request, across, down);
    for (let start = 0; start < inputs.length && !isOutdated(); start += batchSize) {
      const batch = inputs.slice(start, start + batchSize), pixels = await generateImages(batch);
      batch.forEach((_, i) => put(drawn.image, pixels.subarray(i * imageSize, (i + 1) * imageSize),
        (start + i) % across.length, Math.floor((start + i) / across.length)));
      show(drawn);
      await new Promise((resolve) => setTimeout(resolve));
    }
  },

  async read(file) {
    try {
      const pixels = await pixelsOf(file), canvas = canvasOf('read', 1, 1);
      put(canvas, pixels);
      const predictions = await predict(pixels);
      return {
        image: canvas.toDataURL(),
        predictions: predictions.map(({ probabilities, mean, deviation }) => probabilities ?? [...mean, ...deviation]),
      };
    } catch (error) {
      throw new Error(`The image cannot be read: ${error.message}`);
    }
  },
};

// The back end of the explorer: requests to the server that the page comes from.
import { make, showError } from './dom.js';
import { setState, state } from './state.js';

const MAX_BYTES = 32 * 2 ** 20; // of an uploaded image
export const page = Math.random().toString(36).slice(2); // so that two pages do not cancel each other's requests

export class ApiError extends Error {
  constructor(text, status) { super(text); this.status = status }
}

export async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new ApiError('The explorer does not answer. Is it still running?', 0);
  });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(content.error ?? `the server answered with status ${answer.status}`, answer.status);
  return content;
}

export const query = (values) => new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== undefined).map(([key, value]) => [key, String(value)]));

export async function loadState() { setState(await ask('/api/state')) }

// Changes something on the server. The event tells all views to show the new state.
export async function change(path, body) {
  try {
    const answer = await ask(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    setState(answer);
    showError('', 'change');
    return answer;
  } catch (error) {
    showError(error.message, 'change');
    if (error.status === 409) await loadState().catch(() => {}); // changed elsewhere: show the current state
    throw error;
  } finally {
    document.dispatchEvent(new Event('state'));
  }
}

export const LARGE = 1024; // pixels of the largest picture of a real image

// The address of a real image with the detail of its file, at most `side` pixels high and wide.
export const thumbnail = (index, side) => `/api/thumbnail?${query({ index, side })}`;

export async function decoded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

const viewOf = ({ codes, seed, towards, way, pick, zoom, across, down, columns, rows }) => ({
  codes: codes.join(','), seed, towards, way, pick, zoom, across, down, columns, rows,
});

// See `begin` in steer.js.
export const serverBackend = {
  async draw(request, show) {
    const parameters = { ...viewOf(request), centre: request.centre, channel: `${page} ${request.channel}` };
    const { across, down, image, centre } = await ask(`/api/lattice?${query(parameters)}`);
    const images = await Promise.all([image, centre].filter(Boolean).map(decoded));
    show({ across, down, image: images[0], centre: images[1] });
  },

  async read(file) {
    if (file.size > MAX_BYTES) throw new Error('the image is too large: at most 32 MiB are allowed');
    return ask('/api/read', { method: 'POST', body: file });
  },

  downloads(request) {
    const links = [make('a', { href: `/api/lattice.png?${query(viewOf(request))}`, download: 'lattice.png' }, 'The table as PNG')];
    state.codes.forEach(({ name, values }, code) => {
      const frames = values?.length > state.max_frames ? `, ${state.max_frames} of ${values.length} values` : '';
      links.push(make('a', { href: `/api/traversal.gif?${query({ ...viewOf(request), code })}`, download: `${name}.gif` }, `${name} as GIF${frames}`));
    });
    return links;
  },
};

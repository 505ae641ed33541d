// Correcting: one image at a time, one key each.
import { $, make, paint, percent, rove, setTabStop, showError, showLarge, thumb } from './dom.js';
import { LARGE, ask, change, decoded, page, query, thumbnail } from './server.js';
import { state } from './state.js';
import { card } from './sort.js';

const KEYS = '0123456789abcdefghijklmnopqrstuvwxyz';
const COUNT = 24; // images in the queue
const MAX_SKIPPED = 200; // images that a request can name
const skipped = new Set(); // indices of images
let queue = [], sheet = null, position = 0, saving = false, requests = 0;
let ready = Promise.resolve(); // resolves when the displayed image is the one that a key labels

const MIN_CORRECTIONS = 10; // for refining

export function begin() {
  $('skip').onclick = skip;
  $('enlarge').onclick = $('uncertain').onclick = enlarge;
  if (!state.refinable) $('correct-order').value = 'uncertain';
  $('correct-order-label').hidden = $('refining').hidden = !state.refinable;
  $('correct-order').onchange = show;
  $('refine').onclick = () => refine({});
  $('unrefine').onclick = () => refine({ undo: true });
  $('another').onsubmit = (event) => {
    event.preventDefault();
    const name = $('another-name').value.trim();
    if (name) label(name).then((saved) => { if (saved) $('another-name').value = '' });
  };
}

const groups = () => state.codes[state.images.code].groups;

// The group of each key. A group whose name is a key has that key; the others get the remaining keys in order.
function groupsByKey() {
  const names = groups().map((group) => group.name.toLowerCase());
  const free = [...KEYS].filter((key) => !names.includes(key));
  const keys = new Map();
  groups().forEach((group, i) => {
    const isKey = names[i].length === 1 && KEYS.includes(names[i]) && !keys.has(names[i]);
    const key = isKey ? names[i] : free.shift();
    if (key) keys.set(key, group);
  });
  return keys;
}

export function show() {
  ready = fill();
  return ready;
}

async function fill() {
  const keys = new Map([...groupsByKey()].map(([key, group]) => [group, key]));
  const focused = [...$('answers').children].indexOf(document.activeElement);
  $('answers').replaceChildren(...groups().map((group) => {
    const key = keys.get(group);
    return make('button', { type: 'button', onclick: () => label(group.name) }, group.name, ...(key && key !== group.name ? [' ', make('kbd', {}, key)] : []));
  }));
  $('answers').children[focused]?.focus({ preventScroll: true });
  const { labelled, confident, count, unloaded } = state.images;
  $('correct-summary').replaceChildren(
    `${labelled} labelled by you. ${confident} of ${count} images have a reliable label. Your labels are in labels.csv in the run folder; use them with `,
    make('code', {}, 'infogan train --labels'), '.',
    ...(unloaded ? [` ${unloaded} labels in that file belong to images that are not loaded; they stay unchanged.`] : []));
  $('refine').disabled = labelled < MIN_CORRECTIONS;
  $('refine').textContent = labelled < MIN_CORRECTIONS ? `Refine, after ${MIN_CORRECTIONS} labels` : `Refine by your ${labelled} labels`;
  $('refine').title = 'Your labels spread to similar images, here and in all commands.';
  $('unrefine').hidden = !state.refined;
  await refill();
}

// Your labels spread to similar images; the page then reads the images again.
async function refine(body) {
  $('refine').disabled = $('unrefine').disabled = true;
  $('refine-summary').textContent = body.undo ? '' : 'Your labels spread to similar images …';
  try {
    const { summary } = await change('/api/refine', body);
    $('refine-summary').textContent = `${summary[0].toUpperCase()}${summary.slice(1)}.`;
  } catch {
    $('refine-summary').textContent = ''; // the error is shown already
  }
  $('unrefine').disabled = false;
  document.dispatchEvent(new Event('read'));
}

async function refill() {
  const request = ++requests;
  try {
    if (skipped.size > MAX_SKIPPED) skipped.clear(); // they come again
    const answer = await ask(`/api/queue?${query({ count: COUNT, order: $('correct-order').value, skipped: [...skipped].join(',') })}`);
    if (request !== requests) return; // there is a newer request
    queue = answer.items;
    sheet = { image: answer.image, items: answer.items };
    position = 0;
    await present();
    showError('', 'correct');
  } catch (error) {
    showError(error.message, 'correct');
  }
}

const inSheet = (item) => sheet.items.findIndex((other) => other.index === item.index);

async function present() {
  const item = queue[position], count = sheet.items.length;
  $('next').replaceChildren(...queue.slice(position + 1, position + 13).map((other) => card(other, sheet.image, inSheet(other), count)));
  for (const button of $('next').querySelectorAll('button')) button.disabled = true;
  $('uncertain').hidden = $('enlarge').hidden = !item;
  showWhy(item);
  if (!item) {
    $('uncertain-summary').textContent = state.images.encoded < state.images.count ? 'Images are still being read.' : 'All images are labelled.';
    return;
  }
  const { code } = state.images;
  const best = state.codes[code].values.map(({ name, value }) => [name, item.predictions[code][value]]).sort((a, b) => b[1] - a[1]).slice(0, 3);
  $('uncertain').setAttribute('aria-label', `${item.name}: perhaps ${best.map(([name]) => name).join(' or ')}`);
  $('uncertain-summary').textContent = `${item.name}: ${best.map(([name, share]) => `${name} ${percent(share)}`).join(', ')}`;
  if (state.originals) {
    const image = await decoded(thumbnail(item.index, 512));
    if (queue[position] === item) paint($('uncertain'), image);
  } else {
    paint($('uncertain'), await decoded(sheet.image), inSheet(item), count);
  }
  $('uncertain').classList.toggle('photo', state.originals);
}

// The images of the two most probable groups that are most similar to an image: why it is doubtful.
async function showWhy(item) {
  $('why').replaceChildren();
  if (!item || !state.refinable) return;
  let groups;
  try {
    ({ groups } = await ask(`/api/why?${query({ index: item.index, channel: `${page} why` })}`));
  } catch (error) {
    if (error.status !== 409) showError(error.message, 'correct'); // 409: a newer one was asked for
    return;
  }
  if (queue[position] !== item) return;
  $('why').replaceChildren(...groups.filter(({ images }) => images.length).flatMap(({ name, images }) => {
    const similar = images.map((image) => make('li', {}, thumb(thumbnail(image.index, 160), 0, 1, `${image.name}: ${name}`,
      () => showLarge(thumbnail(image.index, LARGE), image.name, state.originals), state.originals ? 'photo' : '')));
    const list = rove(make('ul', { class: 'gallery' }, ...similar));
    setTabStop(list);
    return [make('h2', {}, `Most similar images of ${name}`), list];
  }));
}

function enlarge() {
  const item = queue[position];
  if (item) showLarge(thumbnail(item.index, LARGE), item.name, state.originals);
}

async function label(name) {
  const item = queue[position];
  if (!item || saving) return false;
  saving = true;
  try {
    await change('/api/label', { indices: [item.index], label: name }); // the queue is refilled afterwards
    return true;
  } catch {
    return false; // the error is shown already
  } finally {
    await ready;
    saving = false;
  }
}

function skip() {
  const item = queue[position];
  if (!item || saving) return;
  skipped.add(item.index);
  position += 1;
  if (queue[position]) present();
  else refill();
}

export function key(event) {
  if (event.repeat || $('large').open) return;
  if (event.key === ' ' && !event.target.closest('button, a')) {
    event.preventDefault();
    skip();
    return;
  }
  const group = groupsByKey().get(event.key.toLowerCase());
  if (group) label(group.name);
}

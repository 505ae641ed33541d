// The frame of the page: tabs, address, undo and progress.
import { $, clearErrors, isForPage, showError } from './dom.js';
import { change, loadState, serverBackend } from './server.js';
import { DEFAULTS, readAddress, state, view, writeAddress } from './state.js';
import * as correct from './correct.js';
import * as evidence from './evidence.js';
import * as groups from './groups.js';
import * as map from './map.js';
import * as name from './name.js';
import * as sort from './sort.js';
import * as steer from './steer.js';

// A view shows itself in its tab, and may handle keys.
const VIEWS = { groups, sort, map, steer, name, correct, evidence };
// What the views other than `steer` keep in the address; -1: the first group, no image, the last step, the sample grid.
Object.assign(DEFAULTS, { code: 0, group: -1, other: -1, label: '', order: 'surest', image: -1, step: -1, drawn: -1 });

function open(tab) {
  view.tab = tab;
  clearErrors();
  show();
  $(view.tab).focus({ preventScroll: true }); // so that its keys do not go to the button of the tab
}

function isAvailable(tab) {
  const { needs } = document.querySelector(`[data-tab="${tab}"]`).dataset;
  return !needs || { images: state.images, map: state.mappable, codes: state.codes.length, evidence: state.evidence }[needs];
}

function show() {
  if (!VIEWS[view.tab] || !isAvailable(view.tab)) view.tab = DEFAULTS.tab;
  for (const button of document.querySelectorAll('[data-tab]')) {
    const { tab } = button.dataset;
    button.hidden = !isAvailable(tab);
    if (tab === view.tab) button.setAttribute('aria-current', 'page');
    else button.removeAttribute('aria-current');
    $(tab).hidden = tab !== view.tab;
  }
  writeAddress();
  VIEWS[view.tab].show();
}

function showState() {
  const { images, undo } = state;
  $('title').textContent = document.title = state.title;
  $('undo').hidden = !undo;
  $('undo').textContent = $('undo').title = undo ? `Undo: ${undo.change}` : 'Undo';
  if (state.error) showError(state.error, 'state');
  if (!images) return;
  announce(Math.floor((4 * images.encoded) / images.count));
  const reading = images.encoded < images.count ? `reading images: ${images.encoded} of ${images.count}. ` : '';
  $('progress').textContent = `${reading}${images.confident} of ${images.count} images have a reliable label`;
  $('progress').title = 'Labelled by you, or in a named group with a probability of at least 95 %.';
}

// Screen readers announce every quarter of the images, not every image.
let announced = null;

function announce(quarters) {
  if (announced === quarters) return;
  if (announced !== null) $('announcement').textContent = quarters < 4 ? `${25 * quarters} percent of the images are read.` : 'All images are read.';
  else if (quarters < 4) $('announcement').textContent = 'Images are being read.';
  announced = quarters;
}

// Follows the progress while real images are read.
async function poll() {
  while (state.images && state.images.encoded < state.images.count && !state.error) {
    await new Promise((resolve) => setTimeout(resolve, 700));
    try { await loadState() } catch { continue }
    showState();
    if (view.tab === 'groups' || view.tab === 'map' || (view.tab === 'correct' && $('uncertain').hidden)) VIEWS[view.tab].show();
    if (state.images.encoded === state.images.count) document.dispatchEvent(new Event('state'));
  }
}

async function start() {
  try {
    await loadState();
  } catch (error) {
    showError(error.message, 'page');
    return;
  }
  if (state.images) DEFAULTS.tab = 'groups';
  readAddress();
  groups.begin((values) => { Object.assign(view, values); open('sort') });
  steer.begin(serverBackend);
  sort.begin();
  map.begin((values) => { Object.assign(view, values); open('sort') });
  correct.begin();
  evidence.begin();
  for (const button of document.querySelectorAll('[data-tab]')) button.onclick = () => open(button.dataset.tab);
  $('undo').onclick = () => change('/api/undo', { id: state.undo.id }).catch(() => {});
  document.addEventListener('read', poll);
  document.addEventListener('state', () => { showState(); VIEWS[view.tab].show() });
  document.addEventListener('keydown', (event) => { if (isForPage(event)) VIEWS[view.tab].key?.(event) });
  window.addEventListener('hashchange', () => { readAddress(); show() });
  showState();
  show();
  poll();
}

start();

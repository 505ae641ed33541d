// The frame of the page: tabs, the address, undo, and how far things are.
import { $, change, complain, forgive, learn, read, told, view, write } from './state.js';
import * as correct from './correct.js';
import * as evidence from './evidence.js';
import * as name from './name.js';
import * as sort from './sort.js';
import * as steer from './steer.js';

const VIEWS = { steer, sort, name, correct, evidence };

export function open(tab) {
  view.tab = tab;
  forgive();
  show();
  $(view.tab).focus({ preventScroll: true }); // so that its keys are not taken for the tab's own
}

function allowed(tab) {
  const needs = document.querySelector(`[data-tab="${tab}"]`).dataset.needs;
  return !needs || { images: told.images, codes: told.codes.length, evidence: told.evidence }[needs];
}

function show() {
  if (!allowed(view.tab)) view.tab = 'steer';
  for (const button of document.querySelectorAll('[data-tab]')) {
    button.hidden = !allowed(button.dataset.tab);
    if (button.dataset.tab === view.tab) button.setAttribute('aria-current', 'page');
    else button.removeAttribute('aria-current');
    $(button.dataset.tab).hidden = button.dataset.tab !== view.tab;
  }
  write();
  VIEWS[view.tab].show();
}

function tell() {
  $('title').textContent = document.title = told.title;
  $('undo').hidden = !told.undo;
  $('undo').textContent = $('undo').title = told.undo ? `Undo: ${told.undo.change}` : 'Undo';
  const images = told.images;
  if (told.failed) complain(told.failed, 'reading');
  if (images) hear(Math.floor((4 * images.read) / images.count));
  const reading = images && images.read < images.count ? `reading images: ${images.read} of ${images.count}. ` : '';
  $('progress').textContent = images ? `${reading}${images.sure} of ${images.count} images carry a sure label` : '';
  $('progress').title = 'Filed by you, or in a named group with a probability of at least 95 %.';
}

// Who listens to the page hears of every quarter that is read, and not of every image.
let heard = null;

function hear(quarters) {
  if (heard !== null && quarters !== heard) $('heard').textContent = quarters < 4 ? `${25 * quarters} percent of the images are read.` : 'All images are read.';
  if (heard === null && quarters < 4) $('heard').textContent = 'Images are being read.';
  heard = quarters;
}

// While real images are read, what is known of them grows.
async function watch() {
  while (told.images && told.images.read < told.images.count && !told.failed) {
    await new Promise((resolve) => setTimeout(resolve, 700));
    try { await learn() } catch { continue }
    tell();
    if (view.tab === 'correct' && $('doubt').hidden) VIEWS.correct.show();
    if (told.images.read === told.images.count) document.dispatchEvent(new Event('told'));
  }
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('select, textarea, input:not([type=range], [type=file])')) return;
  VIEWS[view.tab].key?.(event);
}

async function begin() {
  try {
    await learn();
  } catch (error) {
    complain(error.message, 'page');
    return;
  }
  read();
  for (const part of Object.values(VIEWS)) part.begin();
  for (const button of document.querySelectorAll('[data-tab]')) button.onclick = () => open(button.dataset.tab);
  $('undo').onclick = () => change('/api/undo', { id: told.undo.id }).catch(() => {});
  document.addEventListener('told', () => { tell(); VIEWS[view.tab].show() });
  document.addEventListener('keydown', keys);
  window.addEventListener('hashchange', () => { read(); show() });
  tell();
  show();
  watch();
}

begin();

// Groups: all groups of images at a glance, to name, find, order and merge them.
import { $, choices, make, showError } from './dom.js';
import { ask, change, query, thumbnail } from './server.js';
import { state, view, writeAddress } from './state.js';

const SIDE = 160; // pixels of a picture
const FEW_PIXELS = 64; // pictures of fewer are enlarged without blur
const cards = new Map(); // by the values of the group: what is typed or selected stays while images are read
let groups = [], requests = 0, openGroup = () => {};

// `openSort` shows a group in the tab Sort.
export function begin(openSort) {
  openGroup = openSort;
  $('groups-code').onchange = () => { view.code = Number($('groups-code').value); cards.clear(); show() };
  $('groups-order').onchange = lay;
  $('groups-filter').oninput = lay;
  $('groups-merge').onclick = merge;
}

export async function show() {
  const request = ++requests;
  if (!state.codes[view.code]?.groups) view.code = state.images.code;
  const categorical = state.codes.map((code, position) => [position, code.name]).filter(([position]) => state.codes[position].values);
  choices($('groups-code'), categorical, view.code);
  $('groups-code-label').hidden = categorical.length < 2;
  writeAddress();
  let answer;
  try {
    answer = await ask(`/api/groups?${query({ code: view.code })}`);
  } catch (error) {
    showError(error.message, 'groups');
    return;
  }
  showError('', 'groups');
  if (request !== requests) return; // there is a newer request
  groups = answer.groups;
  showVerdict(answer.verdict);
  const keys = new Set(groups.map(keyOf));
  for (const key of cards.keys()) if (!keys.has(key)) cards.delete(key);
  for (const group of groups) update(group, answer.encoded);
  lay();
}

const keyOf = ({ values }) => values.join(' ');

function showVerdict(verdict) {
  $('groups-verdict').hidden = !verdict;
  if (!verdict) return;
  $('groups-verdict').textContent = `Rely on these groups: ${verdict.groups}. `;
  $('groups-verdict').append(make('a', { href: '#evidence?' }, 'Why?'));
  $('groups-verdict').classList.toggle('doubted', verdict.groups === 'no');
}

// Makes the card of a group, or brings it up to date.
function update(group, encoded) {
  const key = keyOf(group);
  if (!cards.has(key)) cards.set(key, newCard(group));
  const card = cards.get(key), { name, named, count, uncertain, images } = group;
  card.group = group;
  card.box.setAttribute('aria-label', `Select group ${name}`);
  card.open.setAttribute('aria-label', `Open group ${name}: ${count} images`);
  card.input.setAttribute('aria-label', `Name of group ${name}`);
  card.input.placeholder = name;
  if (document.activeElement !== card.input) card.input.value = card.input.defaultValue = named ? name : '';
  const share = encoded ? ` (${(100 * count / encoded).toFixed(1)} %)` : '';
  card.summary.textContent = count ? `${count}${share}, ${uncertain} uncertain` : 'no images';
  const shown = images.map(({ index }) => index).join(' ');
  // While images are read, others may represent the group every second: pictures stay as long as there are as many.
  const settled = state.images.encoded === state.images.count;
  if (card.shown === shown || (!settled && card.open.childElementCount === images.length)) return;
  card.shown = shown;
  card.open.replaceChildren(...images.map(({ index, name: file }) => {
    const image = make('img', { src: thumbnail(index, SIDE), alt: '', title: file, loading: 'lazy', decoding: 'async' });
    image.onload = () => image.classList.toggle('pixels', image.naturalWidth < FEW_PIXELS);
    return image;
  }));
}

function newCard(group) {
  const box = make('input', { type: 'checkbox', onchange: showSelection });
  const open = make('button', { type: 'button', class: 'six' });
  const input = make('input', { maxlength: 64, autocomplete: 'off' });
  const summary = make('p', { class: 'faint' });
  const element = make('li', {}, open, make('div', { class: 'line' }, box, input), summary);
  const card = { box, open, input, summary, element, group, shown: null };
  open.onclick = () => openGroup({ group: card.group.values[0], label: '', order: 'surest' });
  input.onchange = () => rename(card);
  return card;
}

async function rename({ group, input }) {
  const name = input.value.trim();
  input.defaultValue = input.value;
  try {
    for (const value of group.values) await change('/api/name', { code: view.code, value, name });
  } catch { /* the error is shown already */ }
}

// Puts the cards of the groups that are looked for in the chosen order.
function lay() {
  const words = $('groups-filter').value.trim().toLowerCase(), order = $('groups-order').value;
  const found = groups.filter(({ name }) => name.toLowerCase().includes(words));
  if (order === 'largest') found.sort((a, b) => b.count - a.count);
  if (order === 'uncertain') found.sort((a, b) => b.uncertain / (b.count || 1) - a.uncertain / (a.count || 1));
  if (order === 'name') found.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const elements = found.map((group) => cards.get(keyOf(group)).element), list = $('groups-list');
  if (elements.length !== list.children.length || elements.some((element, i) => list.children[i] !== element)) {
    const focused = document.activeElement; // an element that moves loses the focus
    list.replaceChildren(...elements);
    if (list.contains(focused)) focused.focus({ preventScroll: true });
  }
  const filled = groups.filter(({ count }) => count).length;
  $('groups-summary').textContent = `${found.length} of ${groups.length} groups${filled < groups.length ? `, ${groups.length - filled} without images` : ''}`;
  showSelection();
}

const selected = () => groups.filter((group) => cards.get(keyOf(group))?.box.checked);

function showSelection() {
  const count = selected().length;
  $('groups-merge').disabled = count < 2;
  $('groups-merge').textContent = count < 2 ? 'Merge the selected groups' : `Merge ${count} groups`;
}

function merge() {
  change('/api/join', { code: view.code, values: selected().map(({ values }) => values[0]) }).catch(() => {});
}

// Sorting: real images by group, and one of them in detail.
import { $, choices, make, percent, rove, setTabStop, showError, showLarge, showTargets, thumb } from './dom.js';
import { showPredictions } from './predictions.js';
import { LARGE, ask, change, query, thumbnail } from './server.js';
import { state, view, writeAddress } from './state.js';
import { generate } from './steer.js';

const COUNT = 60; // images in one request for more
const MAX_COUNT = 200; // images in one answer
const LABEL = 'label '; // prefix of labels that are not the name of a group, among the values of the list of groups
const selected = new Set(); // indices of images
let shown = 0, requests = 0;
let place = ''; // what the gallery shows: a group in an order
let anchor = -1; // index of the image from which on Shift selects

const groups = () => state.codes[view.code].groups;
const groupOf = (value) => groups().find((group) => group.values.includes(value));

export function begin() {
  $('sort-code').onchange = () => { Object.assign(view, { code: Number($('sort-code').value), group: -1, other: -1, label: '' }); show() };
  $('group').onchange = () => {
    const { value } = $('group');
    view.label = value.startsWith(LABEL) ? value.slice(LABEL.length) : '';
    if (!view.label) view.group = Number(value);
    show();
  };
  $('order').onchange = () => { view.order = $('order').value; show() };
  $('other').onchange = () => { view.other = Number($('other').value); show() };
  $('more').onclick = more;
  $('gallery').addEventListener('keydown', selectByKey);
  rove($('gallery'));
  selectByDragging($('gallery'));
  $('selection').onsubmit = (event) => { event.preventDefault(); move() };
  $('selection-group').onchange = showSelection;
  $('selection-clear').onclick = clearSelection;
}

export function show() {
  if (!state.codes[view.code]?.groups) view.code = state.images.code;
  const names = groups().map((group) => [group.values[0], group.name]);
  view.group = (groupOf(view.group) ?? groups()[0]).values[0];
  view.other = (groupOf(view.other) ?? groups()[0]).values[0];
  const others = names.filter(([value]) => value !== view.group);
  if (view.other === view.group && others.length) [[view.other]] = others;
  if (!['surest', 'least', 'between'].includes(view.order) || names.length < 2) view.order = 'surest';
  showChoices(names, others, ungroupedLabels());
  writeAddress();
  showTargets($('selection-group'), groupsOfLabels().map(({ name }) => name));
  // The same place drawn again, with a new state: of the images that one answer can have, what is selected stays.
  const before = place;
  place = [view.code, view.group, view.order, view.order === 'between' ? view.other : '', view.label].join(' ');
  if (place !== before) {
    shown = 0;
    clearSelection();
  }
  fill(0, Math.min(MAX_COUNT, Math.max(COUNT, shown)));
  if (view.image >= state.images.count) view.image = -1;
  if (view.image < 0) $('detail').replaceChildren();
  else if (view.image < state.images.encoded) showDetail(view.image, false);
}

// Labels that are not the name of a group. The one in view stays while its images may still be read.
function ungroupedLabels() {
  const labels = view.code === state.images.code ? state.images.ungrouped.map(({ label }) => label) : [];
  if (view.label && !labels.includes(view.label)) {
    if (state.images.encoded < state.images.count) labels.push(view.label);
    else view.label = '';
  }
  return labels;
}

function showChoices(names, others, labels) {
  const categorical = state.codes.map((code, position) => [position, code.name]).filter(([position]) => state.codes[position].values);
  choices($('sort-code'), categorical, view.code);
  $('sort-code-label').hidden = categorical.length < 2;
  choices($('group'), names, view.group);
  if (labels.length) {
    $('group').append(make('optgroup', { label: 'labels without a group' }, ...labels.map((label) => make('option', { value: LABEL + label }, label))));
    if (view.label) $('group').value = LABEL + view.label;
  }
  choices($('other'), others, view.other);
  $('order').value = view.order;
  $('order-label').hidden = view.label !== '';
  $('other-label').hidden = view.order !== 'between' || view.label !== '';
}

const more = () => fill(shown, COUNT);

// Fills the gallery with `count` images from number `start` on; those before stay.
async function fill(start, count) {
  const request = ++requests;
  const { code, order, label } = view;
  const other = order === 'between' ? view.other : undefined;
  const selection = label ? { label } : { group: view.group, order, other };
  let answer;
  try {
    answer = await ask(`/api/gallery?${query({ code, ...selection, from: start, count })}`);
  } catch (error) {
    showError(error.message, 'sort');
    return;
  }
  showError('', 'sort');
  if (request !== requests) return; // there is a newer request
  const items = answer.items.map((item, i) => card(item, answer.image, i, answer.items.length));
  const gallery = $('gallery');
  const focused = gallery.contains(document.activeElement) ? document.activeElement.dataset.index : null;
  if (start) gallery.append(...items);
  else gallery.replaceChildren(...items);
  setTabStop(gallery);
  const indices = new Set(shownIndices());
  for (const index of selected) if (!indices.has(index)) selected.delete(index); // in another group now
  showSelection();
  if (focused !== null) (gallery.querySelector(`[data-index="${focused}"]`) ?? gallery.querySelector('button'))?.focus({ preventScroll: true });
  shown = start + items.length;
  $('more').hidden = shown >= answer.total;
  const name = (value) => groupOf(value)?.name ?? value;
  const where = label ? `no group, labelled ${label}` : order === 'between' ? `${name(view.group)} and ${name(other)}` : name(view.group);
  $('sort-summary').textContent = `${answer.total} images in ${where}, ${shown} of them shown`;
}

// The groups that images can be moved to: those of the first category.
const groupsOfLabels = () => state.codes[state.images.code].groups;

const shownIndices = () => [...$('gallery').querySelectorAll('.thumb')].map((button) => Number(button.dataset.index));

// Selecting: Ctrl or Shift and a click, a rectangle that is dragged, or X, Shift and X, and Ctrl and A.

function selectImage(button, event) {
  const indices = shownIndices(), index = Number(button.dataset.index);
  if (event.shiftKey && indices.includes(anchor)) {
    const [first, last] = [indices.indexOf(anchor), indices.indexOf(index)].sort((a, b) => a - b);
    for (const other of indices.slice(first, last + 1)) selected.add(other);
  } else {
    if (!selected.delete(index)) selected.add(index);
    anchor = index;
  }
  showSelection();
}

function selectByKey(event) {
  const button = event.target.closest('.thumb');
  if (button && event.key.toLowerCase() === 'x' && !event.ctrlKey && !event.metaKey) selectImage(button, event);
  else if (event.key === 'a' && (event.ctrlKey || event.metaKey)) {
    for (const other of shownIndices()) selected.add(other);
    showSelection();
  } else if (event.key === 'Escape' && selected.size) clearSelection();
  else return;
  event.preventDefault();
}

function selectByDragging(gallery) {
  const frame = make('div', { class: 'frame', hidden: true });
  let start = null, before = null;
  document.body.append(frame);
  gallery.addEventListener('pointerdown', (event) => {
    if (event.pointerType !== 'mouse' || event.button !== 0) return;
    [start, before] = [event, new Set(selected)];
  });
  addEventListener('pointermove', (event) => {
    if (!start || (frame.hidden && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) < 8)) return;
    event.preventDefault();
    frame.hidden = false;
    const [left, right] = [event.clientX, start.clientX].sort((a, b) => a - b);
    const [top, bottom] = [event.clientY, start.clientY].sort((a, b) => a - b);
    Object.assign(frame.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
    selected.clear();
    for (const index of before) selected.add(index);
    for (const button of gallery.querySelectorAll('.thumb')) {
      const box = button.getBoundingClientRect();
      if (box.left < right && box.right > left && box.top < bottom && box.bottom > top) selected.add(Number(button.dataset.index));
    }
    showSelection();
  });
  addEventListener('pointerup', () => {
    start = null;
    if (frame.hidden) return;
    const stop = (event) => event.stopPropagation(); // the click that ends a drag opens no image
    addEventListener('click', stop, { capture: true });
    setTimeout(() => { removeEventListener('click', stop, { capture: true }); frame.hidden = true });
  });
  gallery.addEventListener('dragstart', (event) => event.preventDefault());
}

function showSelection() {
  for (const button of $('gallery').querySelectorAll('.thumb')) {
    const isSelected = selected.has(Number(button.dataset.index));
    button.classList.toggle('selected', isSelected);
    button.setAttribute('aria-label', `${isSelected ? 'Selected: ' : ''}${button.title}`);
  }
  $('selection').hidden = !selected.size;
  $('selection-count').textContent = `${selected.size} selected`;
  $('selection-new').parentElement.hidden = $('selection-group').value !== '';
}

function clearSelection() {
  selected.clear();
  showSelection();
}

function move() {
  const name = $('selection-group').value || $('selection-new').value.trim();
  if (!name) return;
  change('/api/label', { indices: [...selected], label: name }).then(() => { $('selection-new').value = ''; clearSelection() }, () => {});
}

// An image of the gallery, with its label or the probability of its group.
export function card(item, row, position, count) {
  const source = item.label ? 'labelled by you' : percent(item.confidence);
  const title = `${item.name}: ${item.group}, ${source}`, show = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) selectImage(event.currentTarget, event);
    else showDetail(item.index, true);
  };
  const button = state.originals ? thumb(thumbnail(item.index, 160), 0, 1, title, show, 'photo') : thumb(row, position, count, title, show);
  button.setAttribute('aria-pressed', item.index === view.image);
  button.dataset.index = item.index;
  return make('li', {}, button, item.label ? make('span', { class: 'by-hand' }, '✓ you') : make('span', {}, source));
}

async function showDetail(index, focus) {
  view.image = index;
  writeAddress();
  for (const button of $('gallery').querySelectorAll('.thumb')) button.setAttribute('aria-pressed', Number(button.dataset.index) === index);
  let answer;
  try {
    answer = await ask(`/api/image?${query({ index })}`);
  } catch (error) {
    showError(error.message, 'sort');
    return;
  }
  if (view.image !== index) return;
  const { image, generated, similar, items: [item] } = answer, detail = $('detail'), code = state.codes[state.images.code];
  const buttons = code.groups.map(({ name }) =>
    make('button', { type: 'button', 'aria-pressed': item.group === name, onclick: () => label(index, name) }, name));
  if (item.label) buttons.push(make('button', { type: 'button', onclick: () => label(index, null) }, 'Remove your label'));
  const focused = detail.contains(document.activeElement);
  detail.replaceChildren(
    make('h2', {}, item.name),
    make('p', {}, item.label ? `${item.label}, labelled by you` : `${item.group}, ${percent(item.confidence)}`),
    make('button', { type: 'button', onclick: () => showLarge(thumbnail(index, LARGE), item.name, state.originals) }, 'Enlarge'),
    ...showPredictions({ image: state.originals ? thumbnail(index, 512) : image, photo: state.originals, predictions: item.predictions, generated, similar }, generate),
    make('h2', {}, `Correct ${code.name}`), make('div', { class: 'values' }, ...buttons));
  if (focus || focused) detail.focus({ preventScroll: true });
  if (focus && matchMedia('(max-width: 50rem)').matches) detail.scrollIntoView();
}

const label = (index, name) => change('/api/label', { indices: [index], label: name }).catch(() => {});

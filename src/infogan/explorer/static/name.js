// Naming: names for codes and their values, the order of the values, and values that mean the same.
import { $, make, showError, thumb } from './dom.js';
import { ask, change, query } from './server.js';
import { state, view } from './state.js';

const IMAGES = 8; // in a row
const BATCH = 40; // rows that are laid out at a time: there may be thousands
const laidOut = new Map(); // number of rows, by code
let generation = 0, jobs = []; // requests for the rows in sight, one after the other; a new generation drops them

// Rows and images are added when they are about to scroll into view.
const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    target.onVisible();
  }
}, { rootMargin: '400px' });

function whenVisible(element, onVisible) {
  element.onVisible = onVisible;
  observer.observe(element);
  return element;
}

export function show() {
  generation += 1;
  jobs = [];
  observer.disconnect();
  const boxes = state.codes.map((code, position) => (code.values ? category(code, position) : knob(code, position)));
  const first = state.codes.findIndex((code) => code.values);
  if (first >= 0 && state.evidence) enqueue(() => showTree(boxes[first], first));
  // A name that is being typed stays while another one is saved.
  const focused = $('namer').contains(document.activeElement) ? document.activeElement : null;
  const typed = focused?.defaultValue !== undefined && focused.value !== focused.defaultValue ? focused.value : null;
  $('namer').replaceChildren(...boxes);
  const field = focused?.id ? $(focused.id) : null;
  field?.focus({ preventScroll: true });
  if (field && typed !== null && typed !== field.value) field.value = typed;
}

async function enqueue(job) {
  jobs.push(job);
  if (jobs.length > 1) return; // another call works through the queue
  const current = generation;
  while (jobs.length && current === generation && view.tab === 'name') {
    try {
      await jobs[0]();
    } catch (error) {
      showError(error.message, 'name');
    }
    if (current === generation) jobs.shift();
  }
}

// Codes for an example: the first value of each category, the middle of each knob.
const exampleCodes = () => state.codes.map((code) => (code.values ? code.values[0].value : 0));

// Real images of the group of a value, or a generated one if there are no real images.
async function fillValue(list, code, position, value) {
  if (state.images) {
    const answer = await ask(`/api/gallery?${query({ code: position, group: value, count: IMAGES })}`);
    fill(list, answer.image, answer.items.map((item) => `${item.name}, in this group`));
  } else {
    const answer = await ask(`/api/lattice?${query({ codes: exampleCodes().with(position, value).join(',') })}`);
    fill(list, answer.image, [`Generated with ${code.name} ${value}`]);
  }
}

async function fillKnob(list, code, position) {
  const answer = await ask(`/api/lattice?${query({ codes: exampleCodes().join(','), across: position, columns: 10 })}`);
  fill(list, answer.image, answer.across.map((value) => `${code.name} ${value.toFixed(2)}`));
}

function fill(list, row, labels) {
  list.replaceChildren(...labels.map((label, i) => {
    const image = make('li', {}, thumb(row, i, labels.length, label, () => {}));
    image.firstChild.tabIndex = -1;
    return image;
  }));
}

// The tree of categories: a click on a merge gives all categories to its left one name.
async function showTree(box, position) {
  const answer = await ask('/api/evidence');
  if (!answer.tree) return;
  const tree = make('div', { class: 'charts' });
  tree.innerHTML = answer.tree; // the server escapes all names in it
  for (const node of tree.querySelectorAll('.merge')) {
    node.setAttribute('tabindex', '0');
    node.setAttribute('role', 'button');
    const values = node.dataset.values.split(',').map(Number);
    const join = () => change('/api/join', { code: position, values }).catch(() => {});
    node.addEventListener('click', join);
    node.addEventListener('keydown', (event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); join(); } });
  }
  box.append(tree);
}

// The text counts as saved at once: if the name is refused, the field shows the current name again.
function saveName(input, target) {
  input.defaultValue = input.value;
  change('/api/name', { ...target, name: input.value.trim() }).catch(() => {});
}

function title(code, position) {
  const input = make('input', { id: `code-${position}`, value: code.name, maxlength: 64, autocomplete: 'off', 'aria-label': `Name of the code ${code.name}` });
  input.onchange = () => saveName(input, { code: position });
  return make('legend', {}, make('label', {}, 'code ', input));
}

function knob(code, position) {
  const list = make('ul', { id: `images-${position}`, class: 'gallery' });
  whenVisible(list, () => enqueue(() => fillKnob(list, code, position)));
  return make('fieldset', {}, title(code, position), list);
}

function category(code, position) {
  const table = make('div', { class: 'naming' }), end = make('div', { class: 'end' });
  let rows = 0;
  const layOut = (count) => {
    for (const [index, value] of code.values.slice(rows, count).entries()) end.before(...row(code, position, value, rows + index));
    rows = Math.min(count, code.values.length);
    laidOut.set(position, rows);
    if (rows < code.values.length) whenVisible(end, () => layOut(rows + BATCH));
  };
  table.append(end);
  layOut(Math.max(BATCH, laidOut.get(position) ?? 0));
  return make('fieldset', {}, title(code, position),
    make('p', { class: 'faint' }, 'Values with the same name form one group. Names are saved with the model at once.'), table);
}

// The elements of one value: buttons to move it, its name, images, and a list to merge it with another group.
function row(code, position, { value, name, named }, index) {
  const id = `${position}-${value}`, order = code.values.map((v) => v.value);
  const move = (by, text, sign) => make('button', {
    type: 'button', id: `move-${id}-${sign}`, 'aria-label': `${name} ${text}`, disabled: !(index + by in order),
    onclick: () => {
      const values = order.with(index, order[index + by]).with(index + by, order[index]);
      change('/api/order', { code: position, values }).catch(() => {});
    },
  }, sign);
  const input = make('input', {
    id: `value-${id}`, value: named ? name : '', placeholder: name, maxlength: 64, autocomplete: 'off', 'aria-label': `Name of value ${value}`,
  });
  input.onchange = () => saveName(input, { code: position, value });
  const list = make('ul', { id: `images-${id}`, class: 'gallery' });
  whenVisible(list, () => enqueue(() => fillValue(list, code, position, value)));
  return [make('span', {}, move(-1, 'earlier', '↑'), ' ', move(1, 'later', '↓'), ` ${value}`), input, list, merge(code, position, value, name)];
}

function merge(code, position, value, name) {
  const select = make('select', { id: `same-${position}-${value}`, 'aria-label': `${name} means the same as` }, make('option', { value: '' }, 'same as …'));
  const fillOptions = () => { // only when it is opened: there may be thousands of rows, each with as many options
    if (select.options.length > 1) return;
    const others = code.groups.filter((group) => !group.values.includes(value));
    select.append(...others.map((group) => make('option', { value: group.values[0] }, group.name)));
  };
  for (const event of ['focus', 'pointerdown']) select.addEventListener(event, fillOptions);
  select.onchange = () => { if (select.value !== '') change('/api/join', { code: position, values: [Number(select.value), value] }).catch(() => {}) };
  return select;
}

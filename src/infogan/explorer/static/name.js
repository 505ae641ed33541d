// Naming: what the values of a code have come to mean, their order, and which of them mean the same.
import { $, ask, change, complain, make, query, thumb, told, view } from './state.js';

const SHOWN = 8; // images a row
const BATCH = 40; // rows that are laid out at a time: there may be thousands
const laid = new Map(); // how many rows of a code are
let asked = 0, jobs = []; // what is to be asked for the rows that are in sight, one after the other

// Rows and images come when they are about to be seen.
const sight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    sight.unobserve(target);
    target.seen();
  }
}, { rootMargin: '400px' });

export function begin() {}

export function show() {
  asked += 1;
  jobs = [];
  sight.disconnect();
  const boxes = told.codes.map((code, place) => (code.values ? category(code, place) : knob(code, place)));
  // A name that is being typed while another is saved stays as it is.
  const held = $('namer').contains(document.activeElement) ? document.activeElement : null;
  const typed = held?.defaultValue !== undefined && held.value !== held.defaultValue ? held.value : null;
  $('namer').replaceChildren(...boxes);
  const again = held?.id ? $(held.id) : null;
  again?.focus({ preventScroll: true });
  if (again && typed !== null && typed !== again.value) again.value = typed;
}

function whenSeen(element, seen) {
  element.seen = seen;
  sight.observe(element);
  return element;
}

async function later(job) {
  jobs.push(job);
  if (jobs.length > 1) return; // whoever began goes on with it
  const mine = asked;
  while (jobs.length && mine === asked && view.tab === 'name') {
    try {
      await jobs[0]();
    } catch (error) {
      complain(error.message, 'name');
    }
    if (mine === asked) jobs.shift();
  }
}

// Real images of the group that a value is in, or where there are none a generated one.
async function fillValue(list, code, place, value) {
  if (told.images) {
    const answer = await ask(`/api/gallery?${query({ code: place, group: value, count: SHOWN })}`);
    fill(list, answer.image, answer.items.map((item) => `${item.name}, filed here`));
  } else {
    const codes = told.codes.map((other, i) => (i === place ? value : other.values ? other.values[0].value : 0)).join(',');
    const answer = await ask(`/api/lattice?${query({ codes })}`);
    fill(list, answer.image, [`Generated with ${code.name} ${value}`]);
  }
}

async function fillKnob(list, code, place) {
  const codes = told.codes.map((other) => (other.values ? other.values[0].value : 0)).join(',');
  const answer = await ask(`/api/lattice?${query({ codes, across: place, columns: 10 })}`);
  fill(list, answer.image, answer.across.map((value) => `${code.name} ${value.toFixed(2)}`));
}

function fill(list, row, labels) {
  list.replaceChildren(...labels.map((label, i) => {
    const image = make('li', {}, thumb(row, i, labels.length, label, () => {}));
    image.firstChild.tabIndex = -1;
    return image;
  }));
}

// What is said is no longer being typed: where it is refused, the field shows what is there.
function say(input, what) {
  input.defaultValue = input.value;
  change('/api/name', { ...what, name: input.value.trim() }).catch(() => {});
}

function title(code, place) {
  const input = make('input', { id: `code-${place}`, value: code.name, maxlength: 64, autocomplete: 'off', 'aria-label': `Name of the code ${code.name}` });
  input.onchange = () => say(input, { code: place });
  return make('legend', {}, make('label', {}, 'code ', input));
}

function knob(code, place) {
  const list = make('ul', { id: `images-${place}`, class: 'gallery' });
  whenSeen(list, () => later(() => fillKnob(list, code, place)));
  return make('fieldset', {}, title(code, place), list);
}

function category(code, place) {
  const order = code.values.map((v) => v.value);
  const table = make('div', { class: 'naming' });
  const end = make('div', { class: 'end' });
  const row = ({ value, name, named }, at) => {
    const move = (by, text, sign) => make('button', {
      type: 'button', id: `move-${place}-${value}-${sign}`, 'aria-label': `${name} ${text}`, disabled: !(at + by in order),
      onclick: () => {
        const values = [...order];
        [values[at], values[at + by]] = [values[at + by], values[at]];
        change('/api/order', { code: place, values }).catch(() => {});
      },
    }, sign);
    const input = make('input', {
      id: `value-${place}-${value}`, value: named ? name : '', placeholder: name, maxlength: 64, autocomplete: 'off',
      'aria-label': `Name of value ${value}`,
    });
    input.onchange = () => say(input, { code: place, value });
    const same = make('select', { id: `same-${place}-${value}`, 'aria-label': `${name} means the same as` }, make('option', { value: '' }, 'same as …'));
    const offer = () => { // when it is about to be opened: each row would hold a list as long as there are rows
      if (same.options.length > 1) return;
      const others = code.groups.filter((group) => !group.values.includes(value));
      same.append(...others.map((group) => make('option', { value: group.values[0] }, group.name)));
    };
    for (const event of ['focus', 'pointerdown']) same.addEventListener(event, offer);
    same.onchange = () => { if (same.value !== '') change('/api/join', { code: place, values: [Number(same.value), value] }).catch(() => {}) };
    const moves = make('span', {}, move(-1, 'earlier', '↑'), ' ', move(1, 'later', '↓'), ` ${value}`);
    const list = make('ul', { id: `images-${place}-${value}`, class: 'gallery' });
    whenSeen(list, () => later(() => fillValue(list, code, place, value)));
    end.before(moves, input, list, same);
  };
  let rows = 0;
  const lay = (until) => {
    code.values.slice(rows, until).forEach((one, i) => row(one, rows + i));
    rows = Math.min(until, order.length);
    laid.set(place, rows);
    if (rows < order.length) whenSeen(end, () => lay(rows + BATCH));
  };
  table.append(end);
  lay(Math.max(BATCH, laid.get(place) ?? 0));
  return make('fieldset', {}, title(code, place),
    make('p', { class: 'faint' }, 'Two values with one name count as one group. Names are saved with the model at once.'), table);
}

// Naming: what the values of a code have come to mean, their order, and which of them mean the same.
import { $, ask, change, complain, make, query, thumb, told, view } from './state.js';

const SHOWN = 8;
let asked = 0;

export function begin() {}

export async function show() {
  const mine = ++asked;
  const boxes = told.codes.map((code, place) => (code.values ? category(code, place) : knob(code, place)));
  // A name that is being typed while another is saved stays as it is.
  const held = $('namer').contains(document.activeElement) ? document.activeElement : null;
  const typed = held?.defaultValue !== undefined && held.value !== held.defaultValue ? held.value : null;
  $('namer').replaceChildren(...boxes);
  const again = held?.id ? $(held.id) : null;
  again?.focus({ preventScroll: true });
  if (again && typed !== null && typed !== again.value) again.value = typed;
  for (const [place, code] of told.codes.entries()) {
    try {
      if (code.values && told.images) {
        for (const [number, group] of code.groups.entries()) {
          const answer = await ask(`/api/gallery?${query({ code: place, group: number, count: SHOWN })}`);
          if (mine !== asked || view.tab !== 'name') return;
          for (const value of group.values) fill($(`images-${place}-${value}`), answer.image, answer.items.map((item) => `${item.name}, filed here`));
        }
      } else {
        const columns = code.values ? Math.min(code.values.length, 100) : 10;
        const codes = told.codes.map((other) => (other.values ? other.values[0].value : 0)).join(',');
        const answer = await ask(`/api/lattice?${query({ codes, across: place, columns })}`);
        if (mine !== asked || view.tab !== 'name') return;
        if (!code.values) fill($(`images-${place}`), answer.image, answer.across.map((value) => `${code.name} ${value.toFixed(2)}`));
        else answer.across.forEach((value, i) => {
          const one = thumb(answer.image, i, columns, `Generated with ${code.name} ${value}`, () => {});
          $(`images-${place}-${value}`)?.replaceChildren(make('li', {}, one));
        });
      }
    } catch (error) {
      complain(error.message, 'name');
    }
  }
}

function fill(list, row, labels) {
  list?.replaceChildren(...labels.map((label, i) => {
    const image = make('li', {}, thumb(row, i, labels.length, label, () => {}));
    image.firstChild.tabIndex = -1;
    return image;
  }));
}

function title(code, place) {
  const input = make('input', { id: `code-${place}`, value: code.name, maxlength: 64, autocomplete: 'off', 'aria-label': `Name of the code ${code.name}` });
  input.onchange = () => change('/api/name', { code: place, name: input.value.trim() }).catch(() => { input.value = code.name });
  return make('legend', {}, make('label', {}, 'code ', input));
}

function knob(code, place) {
  return make('fieldset', {}, title(code, place), make('ul', { id: `images-${place}`, class: 'gallery' }));
}

function category(code, place) {
  const order = code.values.map((v) => v.value);
  const table = make('div', { class: 'naming' });
  code.values.forEach(({ value, name, named }, at) => {
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
    input.onchange = () => change('/api/name', { code: place, value, name: input.value.trim() }).catch(() => { input.value = named ? name : '' });
    const others = code.groups.filter((group) => !group.values.includes(value));
    const same = make('select', { id: `same-${place}-${value}`, 'aria-label': `${name} means the same as` },
      make('option', { value: '' }, 'same as …'), ...others.map((group) => make('option', { value: group.values[0] }, group.name)));
    same.onchange = () => { if (same.value !== '') change('/api/join', { code: place, values: [Number(same.value), value] }).catch(() => {}) };
    const moves = make('span', {}, move(-1, 'earlier', '↑'), ' ', move(1, 'later', '↓'), ` ${value}`);
    table.append(moves, input, make('ul', { id: `images-${place}-${value}`, class: 'gallery' }), same);
  });
  return make('fieldset', {}, title(code, place),
    make('p', { class: 'faint' }, 'Two values with one name count as one group. Names are saved with the model at once.'), table);
}

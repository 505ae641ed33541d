// Sorting: real images by group, and one of them in full.
import { $, ask, change, choices, complain, make, percent, query, thumb, told, view, write } from './state.js';
import { reading } from './steer.js';

const COUNT = 60;
let shown = [], chosen = null, asked = 0;

const groups = () => told.codes[view.code].groups;

export function begin() {
  $('sort-code').onchange = () => { view.code = Number($('sort-code').value); view.group = 0; view.other = 1; show() };
  $('group').onchange = () => { view.group = Number($('group').value); show() };
  $('order').onchange = () => { view.order = $('order').value; show() };
  $('other').onchange = () => { view.other = Number($('other').value); show() };
  $('more').onclick = more;
}

export function show() {
  const categorical = told.codes.map((code, i) => [i, code.name]).filter(([i]) => told.codes[i].values);
  if (!told.codes[view.code]?.groups) view.code = told.images.code;
  const names = groups().map((group, i) => [i, group.name]);
  if (!groups()[view.group]) view.group = 0;
  if (!groups()[view.other] || view.other === view.group) view.other = view.group ? 0 : 1;
  if (!['surest', 'least', 'between'].includes(view.order) || names.length < 2) view.order = 'surest';
  choices($('sort-code'), categorical, view.code);
  $('sort-code-label').hidden = categorical.length < 2;
  choices($('group'), names, view.group);
  choices($('other'), names.filter(([i]) => i !== view.group), view.other);
  $('order').value = view.order;
  $('other-label').hidden = view.order !== 'between';
  write();
  shown = [];
  more();
  if (chosen !== null) tell(chosen, false);
}

async function more() {
  const mine = ++asked;
  const { code, group, order } = view;
  const other = order === 'between' ? view.other : undefined;
  let answer;
  try {
    answer = await ask(`/api/gallery?${query({ code, group, order, other, from: shown.length, count: COUNT })}`);
  } catch (error) {
    complain(error.message, 'sort');
    return;
  }
  complain('', 'sort');
  if (mine !== asked) return; // something else was asked for meanwhile
  const items = answer.items.map((item, i) => card(item, answer.image, i, answer.items.length));
  if (shown.length) $('gallery').append(...items);
  else $('gallery').replaceChildren(...items);
  shown.push(...answer.items);
  $('more').hidden = shown.length >= answer.total;
  const where = order === 'between' ? `${groups()[group].name} and ${groups()[other].name}` : groups()[group].name;
  $('sort-told').textContent = `${answer.total} images in ${where}, ${shown.length} of them shown`;
}

export function card(item, row, at, count) {
  const said = item.label ? 'filed by you' : percent(item.sureness);
  const button = thumb(row, at, count, `${item.name}: ${item.group}, ${said}`, () => tell(item.place, true));
  button.setAttribute('aria-pressed', item.place === chosen);
  button.dataset.place = item.place;
  return make('li', {}, button, make('span', item.label ? { class: 'by-hand' } : {}, item.label ? '✓ you' : said));
}

async function tell(place, jump) {
  chosen = place;
  for (const button of $('gallery').querySelectorAll('.thumb')) button.setAttribute('aria-pressed', Number(button.dataset.place) === place);
  let answer;
  try {
    answer = await ask(`/api/image?${query({ place })}`);
  } catch (error) {
    complain(error.message, 'sort');
    return;
  }
  if (chosen !== place) return;
  const [item] = answer.items;
  const fix = make('div', { class: 'values' }, ...told.codes[told.images.code].groups.map((group) =>
    make('button', { type: 'button', 'aria-pressed': item.group === group.name, onclick: () => file(place, group.name) }, group.name)));
  if (item.label) fix.append(make('button', { type: 'button', onclick: () => file(place, null) }, 'as the model says'));
  $('detail').replaceChildren(
    make('h2', {}, item.name),
    make('p', {}, item.label ? `${item.label}, filed by you` : `${item.group}, ${percent(item.sureness)}`),
    ...reading({ image: answer.image, readings: item.readings, generated: answer.generated, similar: answer.similar }),
    make('h2', {}, `It is really (${told.codes[told.images.code].name})`), fix);
  if (jump) $('detail').focus({ preventScroll: true });
  if (jump && matchMedia('(max-width: 50rem)').matches) $('detail').scrollIntoView();
}

const file = (place, label) => change('/api/label', { place, label }).catch(() => {});

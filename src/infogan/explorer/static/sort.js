// Sorting: real images by group, and one of them in full.
import { $, ask, change, choices, complain, make, percent, query, rove, settle, thumb, told, view, write } from './state.js';
import { reading } from './steer.js';

const COUNT = 60;
const LABEL = 'label '; // before a label that no group is called by, among the values of the groups
let shown = [], asked = 0;

const groups = () => told.codes[view.code].groups;
const groupOf = (value) => groups().find((group) => group.values.includes(value));
const readingOn = () => told.images.read < told.images.count;

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
  rove($('gallery'));
}

export function show() {
  const categorical = told.codes.map((code, i) => [i, code.name]).filter(([i]) => told.codes[i].values);
  if (!told.codes[view.code]?.groups) view.code = told.images.code;
  const names = groups().map((group) => [group.values[0], group.name]);
  view.group = (groupOf(view.group) ?? groups()[0]).values[0];
  const others = names.filter(([value]) => value !== view.group);
  view.other = (groupOf(view.other) ?? groups()[0]).values[0];
  if (view.other === view.group && others.length) [[view.other]] = others;
  if (!['surest', 'least', 'between'].includes(view.order) || names.length < 2) view.order = 'surest';
  const strays = view.code === told.images.code ? told.images.strays.map(({ label }) => label) : [];
  if (view.label && !strays.includes(view.label)) {
    if (readingOn()) strays.push(view.label); // its images may be still to be read
    else view.label = '';
  }
  choices($('sort-code'), categorical, view.code);
  $('sort-code-label').hidden = categorical.length < 2;
  choices($('group'), names, view.group);
  if (strays.length) {
    $('group').append(make('optgroup', { label: 'labelled, in no group' }, ...strays.map((label) => make('option', { value: LABEL + label }, label))));
    if (view.label) $('group').value = LABEL + view.label;
  }
  choices($('other'), others, view.other);
  $('order').value = view.order;
  $('order-label').hidden = view.label !== '';
  $('other-label').hidden = view.order !== 'between' || view.label !== '';
  write();
  shown = [];
  more();
  if (view.image >= told.images.count) view.image = -1;
  if (view.image < 0) $('detail').replaceChildren();
  else if (view.image < told.images.read) tell(view.image, false);
}

async function more() {
  const mine = ++asked;
  const { code, order, label } = view;
  const other = order === 'between' ? view.other : undefined;
  const which = label ? { label } : { group: view.group, order, other };
  let answer;
  try {
    answer = await ask(`/api/gallery?${query({ code, ...which, from: shown.length, count: COUNT })}`);
  } catch (error) {
    complain(error.message, 'sort');
    return;
  }
  complain('', 'sort');
  if (mine !== asked) return; // something else was asked for meanwhile
  const items = answer.items.map((item, i) => card(item, answer.image, i, answer.items.length));
  const held = $('gallery').contains(document.activeElement) ? document.activeElement.dataset.place : null;
  if (shown.length) $('gallery').append(...items);
  else $('gallery').replaceChildren(...items);
  settle($('gallery'));
  if (held !== null) ($('gallery').querySelector(`[data-place="${held}"]`) ?? $('gallery').querySelector('button'))?.focus({ preventScroll: true });
  shown.push(...answer.items);
  $('more').hidden = shown.length >= answer.total;
  const name = (value) => groupOf(value)?.name ?? value;
  const where = label ? `no group, labelled ${label}` : order === 'between' ? `${name(view.group)} and ${name(other)}` : name(view.group);
  $('sort-told').textContent = `${answer.total} images in ${where}, ${shown.length} of them shown`;
}

export function card(item, row, at, count) {
  const said = item.label ? 'filed by you' : percent(item.sureness);
  const button = thumb(row, at, count, `${item.name}: ${item.group}, ${said}`, () => tell(item.place, true));
  button.setAttribute('aria-pressed', item.place === view.image);
  button.dataset.place = item.place;
  return make('li', {}, button, make('span', item.label ? { class: 'by-hand' } : {}, item.label ? '✓ you' : said));
}

async function tell(place, jump) {
  view.image = place;
  write();
  for (const button of $('gallery').querySelectorAll('.thumb')) button.setAttribute('aria-pressed', Number(button.dataset.place) === place);
  let answer;
  try {
    answer = await ask(`/api/image?${query({ place })}`);
  } catch (error) {
    complain(error.message, 'sort');
    return;
  }
  if (view.image !== place) return;
  const inside = $('detail').contains(document.activeElement);
  const [item] = answer.items;
  const fix = make('div', { class: 'values' }, ...told.codes[told.images.code].groups.map((group) =>
    make('button', { type: 'button', 'aria-pressed': item.group === group.name, onclick: () => file(place, group.name) }, group.name)));
  if (item.label) fix.append(make('button', { type: 'button', onclick: () => file(place, null) }, 'as the model says'));
  $('detail').replaceChildren(
    make('h2', {}, item.name),
    make('p', {}, item.label ? `${item.label}, filed by you` : `${item.group}, ${percent(item.sureness)}`),
    ...reading({ image: answer.image, readings: item.readings, generated: answer.generated, similar: answer.similar }),
    make('h2', {}, `It is really (${told.codes[told.images.code].name})`), fix);
  if (jump || inside) $('detail').focus({ preventScroll: true });
  if (jump && matchMedia('(max-width: 50rem)').matches) $('detail').scrollIntoView();
}

const file = (place, label) => change('/api/label', { place, label }).catch(() => {});

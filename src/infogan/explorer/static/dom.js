// Small pieces of the page that every view uses. Text goes in as text: a name that somebody gave is never read as markup.

export const $ = (id) => document.getElementById(id);

export function make(kind, attributes = {}, ...children) {
  const element = document.createElement(kind);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key.startsWith('aria-')) element.setAttribute(key, String(value));
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function choices(select, options, value) {
  select.replaceChildren(...options.map(([key, text]) => make('option', { value: key }, text)));
  select.value = String(value);
}

export const percent = (share) => `${(100 * share).toFixed(share > 0.9995 ? 0 : 1)} %`;

// Error messages by source: the success of one source does not hide the error of another.
const errors = new Map();

export function showError(text, source) {
  if (text) errors.set(source, text);
  else errors.delete(source);
  $('error').textContent = [...errors.values()].join(' ');
  $('error').hidden = !errors.size;
}

export function clearErrors() {
  errors.clear();
  showError('', 'page');
}

// Whether a key is meant for the page, and not for a field or for the browser.
export const isForPage = (event) => !event.ctrlKey && !event.metaKey && !event.altKey
  && !event.target.closest('select, textarea, input:not([type=range], [type=file])');

// The groups that images can be moved to, and a new one; what is chosen stays.
export function showTargets(select, names) {
  const { value } = select, isChosen = select.options.length && (value === '' || names.includes(value));
  choices(select, [...names.map((name) => [name, name]), ['', 'a new group']], isChosen ? value : names[0]);
}

// Shows an image as large as the window allows, until it is closed by Escape or a click.
export function showLarge(src, title, isPhoto) {
  const dialog = $('large');
  dialog.replaceChildren(make('img', { src, alt: title, class: isPhoto ? 'photo' : 'pixels' }), make('button', { type: 'button', onclick: () => dialog.close() }, 'Close'));
  dialog.setAttribute('aria-label', title);
  dialog.onclick = () => dialog.close();
  dialog.showModal();
}

// A box of buttons is one stop for the Tab key. Arrow keys move between the buttons, up and down by their position.
export function rove(box) {
  box.addEventListener('keydown', (event) => {
    const buttons = [...box.querySelectorAll('button')], index = buttons.indexOf(event.target);
    const target = index < 0 ? undefined : MOVES[event.key]?.(buttons, index);
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    buttons[Math.min(buttons.length - 1, Math.max(0, target))].focus();
  });
  box.addEventListener('focusin', (event) => setTabStop(box, event.target));
  return box;
}

// Makes one button of such a box the stop for the Tab key: by default the pressed one, or the first.
export function setTabStop(box, stop = box.querySelector('[aria-pressed=true]') ?? box.querySelector('button')) {
  for (const button of box.querySelectorAll('button')) button.tabIndex = button === stop ? 0 : -1;
}

const MOVES = {
  ArrowLeft: (buttons, index) => index - 1,
  ArrowRight: (buttons, index) => index + 1,
  ArrowUp: (buttons, index) => inNextRow(buttons, index, -1),
  ArrowDown: (buttons, index) => inNextRow(buttons, index, 1),
  Home: () => 0,
  End: (buttons) => buttons.length - 1,
};

// The nearest button in the next row, or the same one if there is no such row.
function inNextRow(buttons, index, direction) {
  const boxes = buttons.map((button) => button.getBoundingClientRect());
  const distance = (i) => (boxes[i].top - boxes[index].top) * direction;
  const beyond = [...buttons.keys()].filter((i) => distance(i) > 1);
  const nearest = Math.min(...beyond.map(distance));
  const offset = (i) => Math.abs(boxes[i].left - boxes[index].left);
  return beyond.filter((i) => distance(i) < nearest + 1).sort((a, b) => offset(a) - offset(b))[0] ?? index;
}

// A button that shows one image of a row of images.
export function thumb(row, index, count, label, onclick, size = '') {
  const button = make('button', { type: 'button', class: `thumb ${size}`, 'aria-label': label, title: label, onclick });
  button.style.backgroundImage = `url(${row})`;
  button.style.backgroundSize = `${count * 100}% 100%`;
  button.style.backgroundPosition = count > 1 ? `${(index / (count - 1)) * 100}% 0` : '0 0';
  return button;
}

// Draws an image, or one of `count` images that stand side by side in it, over a whole canvas.
export function paint(canvas, image, index = 0, count = 1) {
  const width = image.width / count, { height } = image;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext('2d').drawImage(image, index * width, 0, width, height, 0, 0, width, height);
  canvas.dataset.frame = Number(canvas.dataset.frame ?? 0) + 1;
}

// Evidence: the verdict, curves over training, measurements with their meanings, and figures drawn while training.
import { $, make, showError } from './dom.js';
import { ask, query } from './server.js';
import { state, view, writeAddress } from './state.js';

let figures = {}; // steps of the figures, by position of the code; -1: sample grids
let steps = []; // steps of the selected figures

export function begin() {
  $('drawn').onchange = () => {
    view.drawn = Number($('drawn').value);
    writeAddress();
    showSteps();
  };
  $('step').oninput = () => {
    const index = Number($('step').value);
    view.step = index < steps.length - 1 ? steps[index] : -1; // the last step stays the last while training continues
    writeAddress();
    showFigure();
  };
}

export async function show() {
  let answer;
  try {
    answer = await ask('/api/evidence');
  } catch (error) {
    showError(error.message, 'evidence');
    return;
  }
  showError('', 'evidence');
  $('verdict').replaceChildren(...describe(answer.verdict));
  $('verdict').classList.toggle('doubted', answer.verdict?.trust === false);
  $('measured').replaceChildren(...answer.measured.map(([name, value, meaning]) =>
    make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, value), make('td', { class: 'faint' }, meaning))));
  $('charts').innerHTML = answer.charts.join(''); // the server escapes all names in them
  figures = { '-1': answer.samples, ...answer.traversals };
  const available = Object.keys(figures).filter((code) => figures[code].length).map(Number).sort((a, b) => a - b);
  if (!available.includes(view.drawn)) view.drawn = -1;
  $('drawn').replaceChildren(...available.map((code) => make('option', { value: code }, code < 0 ? 'samples' : state.codes[code].name)));
  $('drawn').value = view.drawn;
  $('drawn').parentElement.hidden = available.length < 2;
  showSteps();
}

function describe(verdict) {
  if (!verdict) return ['There is no verdict yet. It is given at the end of training.'];
  if (!verdict.evidence) return [verdict.reason]; // of version 0.1
  const text = `Rely on the groups of images: ${verdict.groups}. Rely on the generated pictures: ${verdict.pictures}.`;
  const reasons = verdict.reasons.map((reason) => make('li', {}, `${reason[0].toUpperCase()}${reason.slice(1)}.`));
  const advice = verdict.advice ? [make('p', {}, `To try next, with the other options of this run: infogan train DATA ${verdict.advice}`)] : [];
  return [make('p', {}, text), make('ul', {}, ...reasons), ...advice];
}

function showSteps() {
  steps = figures[view.drawn] ?? [];
  $('scrub').hidden = !steps.length;
  $('step').max = Math.max(0, steps.length - 1);
  const index = steps.indexOf(view.step);
  $('step').value = index < 0 ? steps.length - 1 : index;
  showFigure();
}

function showFigure() {
  const step = steps[Number($('step').value)];
  if (step === undefined) return;
  $('figure').src = `/api/figure?${query({ step, code: view.drawn < 0 ? undefined : view.drawn })}`;
  const title = view.drawn < 0 ? 'Generated images' : `A column for each value of ${state.codes[view.drawn].name}`;
  $('figure').alt = `${title} at step ${step}`;
  $('step').setAttribute('aria-valuetext', `step ${step}`);
  $('step').nextElementSibling.textContent = step;
}

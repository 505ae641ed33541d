// What the recognizer predicts for one image.
import { make, percent, rove, setTabStop, thumb } from './dom.js';
import { codesOf, describe, state, valueName } from './state.js';

// Shows bars for categories, numbers for continuous codes, and neighbours. `generate` makes codes, and the noise of a
// generated image, the centre of the page.
export function showPredictions({ image, photo, predictions, generated, similar }, generate) {
  const codes = codesOf(predictions);
  const parts = image ? [thumb(image, 0, 1, `The image as the model sees it: ${describe(codes)}`, () => generate(codes), photo ? 'large photo' : 'large')] : [];
  state.codes.forEach((code, position) => {
    const values = predictions[position];
    if (code.values) {
      parts.push(bars(code, values));
    } else {
      const [mean, deviation] = values;
      parts.push(make('p', {}, `${code.name} ${valueName(position, mean)}${deviation === undefined ? '' : ` ± ${deviation.toFixed(2)}`}`));
    }
  });
  parts.push(make('button', { type: 'button', onclick: () => generate(codes) }, 'Generate with these codes'));
  if (generated) {
    const { seed, picks } = generated;
    parts.push(make('h2', {}, 'Most similar generated images'), thumbs(generated.codes.map((values, i) => make('li', {}, thumb(
      generated.image, i, picks.length, `Generated: ${describe(values) || `noise ${picks[i]}`}`, () => generate(values, { seed, pick: picks[i], way: 0 }))))));
  }
  if (similar?.items.length) {
    parts.push(make('h2', {}, 'Real images closest in code'), thumbs(similar.items.map((item, i) => make('li', {}, thumb(
      similar.image, i, similar.items.length, `${item.name}: ${item.group}`, () => generate(codesOf(item.predictions))), item.group))));
  }
  return parts;
}

// The three most probable values of a category.
function bars({ name: code, values }, probabilities) {
  const ranked = values.map(({ name, value }) => [name, probabilities[value]]).sort((a, b) => b[1] - a[1]).slice(0, 3);
  return make('div', { class: 'bars', role: 'group', 'aria-label': code }, ...ranked.flatMap(([name, share]) => [
    make('span', {}, `${code} ${name}`), make('meter', { min: 0, max: 1, value: share, 'aria-label': name }), percent(share)]));
}

function thumbs(items) {
  const list = rove(make('ul', { class: 'gallery' }, ...items));
  setTabStop(list);
  return list;
}

// Shows in a figure's window the strip that its buttons choose, at the frame that its sliders choose. The frames are in
// the order of the sliders' places, the last slider changing fastest; or, with data-alone, they are the frames of the
// first slider, then of the next, and moving one puts the others back where they began.
const scrub = (figure) => {
  const pane = figure.querySelector('.window');
  const strips = [...pane.children];
  const buttons = [...figure.querySelectorAll('input[type=radio]')];
  const sliders = [...figure.querySelectorAll('input[type=range]')];
  const lengths = sliders.map((slider) => Number(slider.max) + 1);
  const alone = 'alone' in figure.dataset;
  let moved = 0;
  const show = () => {
    const places = sliders.map((slider) => Number(slider.value));
    const at = alone
      ? lengths.slice(0, moved).reduce((sum, length) => sum + length, 0) + places[moved]
      : places.reduce((sum, place, i) => sum * lengths[i] + place, 0);
    pane.style.setProperty('--at', at);
    strips.forEach((strip, i) => { strip.hidden = buttons.length > 0 && !buttons[i].checked; });
    for (const slider of sliders) {
      const value = slider.dataset.values.split(' ')[slider.value];
      slider.closest('label').querySelector('output').textContent = value;
      slider.setAttribute('aria-valuetext', value);
    }
  };
  sliders.forEach((slider, i) => slider.addEventListener('input', () => {
    if (alone && moved !== i) sliders[moved].value = sliders[moved].defaultValue;
    moved = i;
    show();
  }));
  const group = `buttons-${Math.random()}`; // of this figure alone, so that only one of them is chosen
  buttons.forEach((button) => {
    button.name = group;
    button.addEventListener('change', show);
  });
  show();
};

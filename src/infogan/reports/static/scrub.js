// Shows the frame that the controls of a figure select. Buttons select a strip of frames, sliders a frame of it: the
// frames are ordered by the positions of the sliders, the last slider varying fastest. With data-independent, the strip
// contains the frames of the first slider, then of the second, ...; moving one slider resets the others.
const scrub = (figure) => {
  const pane = figure.querySelector('.window');
  const strips = [...pane.children];
  const buttons = [...figure.querySelectorAll('input[type=radio]')];
  const sliders = [...figure.querySelectorAll('input[type=range]')];
  const lengths = sliders.map((slider) => Number(slider.max) + 1);
  const independent = 'independent' in figure.dataset;
  let active = 0; // index of the slider that moved last
  const show = () => {
    const positions = sliders.map((slider) => Number(slider.value));
    const frame = independent
      ? lengths.slice(0, active).reduce((sum, length) => sum + length, 0) + positions[active]
      : positions.reduce((sum, position, i) => sum * lengths[i] + position, 0);
    pane.style.setProperty('--frame', frame);
    strips.forEach((strip, i) => { strip.hidden = buttons.length > 0 && !buttons[i].checked; });
    for (const slider of sliders) {
      const value = slider.dataset.values.split(' ')[slider.value];
      slider.closest('label').querySelector('output').textContent = value;
      slider.setAttribute('aria-valuetext', value);
    }
  };
  sliders.forEach((slider, i) => slider.addEventListener('input', () => {
    if (independent && active !== i) sliders[active].value = sliders[active].defaultValue;
    active = i;
    show();
  }));
  const group = `buttons-${Math.random()}`; // unique to this figure, so that its buttons exclude only each other
  buttons.forEach((button) => {
    button.name = group;
    button.addEventListener('change', show);
  });
  show();
};

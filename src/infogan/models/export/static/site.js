// The frame of an exported page.
import { $, isForPage, showError } from './dom.js';
import { description, missingModel, onnxBackend, runtime } from './onnx.js';
import { readAddress, setState, view } from './state.js';
import { begin, key, show } from './steer.js';

const KINDS = { infogan: 'InfoGAN', cgan: 'conditional GAN', gan: 'GAN' };

function start() {
  const { kind, codes, images } = description, size = images.shape[1];
  const names = codes.map((code) => code.name).join(', ');
  $('about').textContent = `${KINDS[kind]} that generates ${size} × ${size} images${names && ` by ${names}`}`;
  setState({
    codes: codes.map(({ name, values, order }) => ({ name, values: values && order.map((value) => ({ value, name: values[value] })) })),
    recognizes: codes.some((code) => code.outputs),
    limitations: [],
  });
  const open = () => {
    readAddress();
    view.tab = 'steer';
    show();
  };
  begin(onnxBackend);
  open();
  addEventListener('hashchange', open);
  document.addEventListener('keydown', (event) => { if (isForPage(event)) key(event) });
  runtime.then(
    () => { $('progress').textContent = 'Runs in this browser; nothing is sent anywhere.' },
    () => { $('progress').textContent = '' });
}

if (missingModel) {
  $('progress').textContent = '';
  showError(missingModel, 'files');
} else {
  start();
}

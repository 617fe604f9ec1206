// The browser's half of the QC page. Values arrive in 16 bits (see pictures.py and view.py) and are 8 bits only on
// the canvas, after exposure, gamma or stretch.
'use strict';
(() => {
  const facts = JSON.parse(document.getElementById('facts').textContent);
  const NOT_FINITE = 65535, NODES = facts.nodes, CURVE = 4096;
  const OUT = [255, 46, 99];
  const $ = (id) => document.getElementById(id);
  const frames = facts.frames;
  const unpacked = new Map();
  let current = -1, shown = null, view = null;

  async function inflate(id) {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const zigzag = (high, low) => { const z = (high << 8) | low; return (z >>> 1) ^ -(z & 1); };

  /** A picture of `whole-0` and its kind: steps and codes are planar, channel by channel. */
  async function picture(kind, index) {
    const id = `${kind}-${index}`;
    if (!unpacked.has(id)) {
      if (unpacked.size > 5) unpacked.delete(unpacked.keys().next().value);
      unpacked.set(id, inflate(id).then((bytes) => unpack(frames[index][kind], bytes)));
    }
    return unpacked.get(id);
  }

  function unpack(part, bytes) {
    const pixels = part.width * part.height, size = pixels * part.channels;
    const after = new Uint16Array(size), before = new Uint16Array(size), step = part.steps;
    for (let i = 0, value = 0; i < size; i++) {
      if (i % pixels === 0) value = 0;
      value = (value + zigzag(bytes[i], bytes[size + i])) & 65535;
      after[i] = value;
      const code = Math.floor((value + step / 2) / step) + zigzag(bytes[2 * size + i], bytes[3 * size + i]);
      before[i] = code * step;
    }
    return {...part, pixels, step, white: (2 ** part.bits - 1) * step, before, after};
  }

  async function unpackView() {
    const bytes = await inflate('view-data'), floats = new Float32Array(bytes.buffer, 0, CURVE + 9);
    const size = NODES ** 3 * 3, at = 4 * (CURVE + 9), lattice = new Uint16Array(size);
    for (let i = 0; i < size; i++) {
      const before = i % (3 * NODES) < 3 ? 0 : lattice[i - 3];
      lattice[i] = before + ((bytes[at + i] << 8) | bytes[at + size + i]);
    }
    return {curve: floats.slice(0, CURVE), matrix: floats.slice(CURVE), lattice};
  }

  /** Display bytes of a picture's side through the view; exposure in stops of scene-linear light. */
  function develop(part, side, exposure, gamma, through) {
    const light = lightOf(part.white, through, 2 ** exposure), tone = toneOf(gamma), image = new ImageData(part.width, part.height);
    const grey = part.channels === 1, color = new Float64Array(3), to = image.data;
    const [red, green, blue] = [0, grey ? 0 : part.pixels, grey ? 0 : 2 * part.pixels];
    for (let i = 0; i < part.pixels; i++) {
      const r = side[i + red], g = side[i + green], b = side[i + blue];
      if (r === NOT_FINITE || g === NOT_FINITE || b === NOT_FINITE) {
        to.set(OUT, 4 * i);
      } else {
        color[0] = light[r]; color[1] = light[g]; color[2] = light[b];
        if (through) lookUp(through, color);
        for (let c = 0; c < 3; c++) to[4 * i + c] = tone[Math.min(65535, Math.max(0, Math.round(color[c])))];
      }
      to[4 * i + 3] = 255;
    }
    return image;
  }

  function lightOf(white, through, factor) {
    const light = new Float32Array(65536);
    for (let i = 0; i < 65536; i++) {
      const signal = Math.min(i / white, 1);
      if (!through) { light[i] = signal * factor * 65535; continue; }
      const at = signal * (CURVE - 1), low = Math.min(Math.floor(at), CURVE - 2);
      light[i] = (through.curve[low] + (at - low) * (through.curve[low + 1] - through.curve[low])) * factor;
    }
    return light;
  }

  function toneOf(gamma) {
    const tone = new Uint8ClampedArray(65536);
    for (let i = 0; i < 65536; i++) tone[i] = 255 * (i / 65535) ** (1 / gamma);
    return tone;
  }

  const FLOOR = 2 ** facts.floor;
  const SCALE = (NODES - 1) / (Math.log2(2 ** facts.ceiling + FLOOR) - facts.floor);

  const ORDERS = [[0, 1, 2], [0, 2, 1], [2, 0, 1], [2, 1, 0], [1, 2, 0], [1, 0, 2]];

  /** Replaces scene-linear by display values, 0 to 65535: matrix, logarithm, tetrahedra of the lattice. */
  function lookUp({matrix: m, lattice}, color) {
    const [r, g, b] = color, at = lookUp.at, low = lookUp.low;
    for (let c = 0; c < 3; c++) {
      const light = m[3 * c] * r + m[3 * c + 1] * g + m[3 * c + 2] * b;
      at[c] = light > 0 ? Math.min((Math.log2(light + FLOOR) - facts.floor) * SCALE, NODES - 1) : 0;
      low[c] = Math.min(Math.floor(at[c]), NODES - 2);
      at[c] -= low[c];
    }
    const steps = lookUp.steps, first = 3 * (low[0] + NODES * (low[1] + NODES * low[2]));
    // from the near corner along the axes in the order of their fractions, to the far one
    const x = at[0], y = at[1], z = at[2];
    const order = ORDERS[x >= y ? (y >= z ? 0 : x >= z ? 1 : 2) : z >= y ? 3 : z >= x ? 4 : 5];
    let corner = first;
    for (let c = 0; c < 3; c++) color[c] = lattice[first + c];
    for (let i = 0; i < 3; i++) {
      const axis = order[i], next = corner + steps[axis];
      for (let c = 0; c < 3; c++) color[c] += at[axis] * (lattice[next + c] - lattice[corner + c]);
      corner = next;
    }
  }
  lookUp.at = new Float64Array(3); lookUp.low = new Int32Array(3); lookUp.steps = [3, 3 * NODES, 3 * NODES * NODES];

  /** Amplifies what differs from the local mean of the source; both sides get one mean. */
  function stretch(part, side, gain) {
    part.mean ??= localMean(part);
    const {planes, low, high} = part.mean, image = new ImageData(part.width, part.height), to = image.data;
    for (let i = 0; i < part.pixels; i++) {
      to[4 * i + 3] = 255;
      for (let c = 0; c < 3; c++) {
        const k = c % part.channels, value = side[i + k * part.pixels], mean = planes[k][i];
        const spread = Math.min(Math.max((mean - low) / Math.max(high - low, part.step), 0), 1);
        to[4 * i + c] = 255 * (0.05 + 0.85 * spread ** 1.6 + (value - mean) / part.white * gain);
        if (value === NOT_FINITE) { to.set(OUT, 4 * i); break; }
      }
    }
    return image;
  }

  /** The guided filter of He, Sun and Tang (ECCV 2010), guided by the source itself, as preview.py has it. */
  function localMean(part) {
    const radius = Math.max(4, Math.round(part.width / 24)), edge = (3 * part.step) ** 2, planes = [];
    const blur = (plane) => boxBlur(boxBlur(plane, part.height, part.width, 1, part.width, radius),
      part.width, part.height, part.width, 1, radius);
    for (let k = 0; k < part.channels; k++) {
      const values = Float32Array.from(part.before.subarray(k * part.pixels, (k + 1) * part.pixels));
      const mean = blur(values), squares = blur(values.map((v) => v * v));
      const slope = mean.map((m, i) => { const v = Math.max(squares[i] - m * m, 0); return v / (v + edge); });
      const offset = blur(mean.map((m, i) => m * (1 - slope[i]))), smooth = blur(slope);
      planes.push(values.map((v, i) => smooth[i] * v + offset[i]));
    }
    const sorted = planes.flatMap((plane) => Array.from(plane.filter((_, i) => i % 16 === 0))).sort((a, b) => a - b);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    return {planes, low: at(0.005), high: at(0.995)};
  }

  /** Means over 2 radius + 1 values along lines of `length` values `step` apart; edges repeat. */
  function boxBlur(plane, lines, length, step, stride, radius) {
    const to = new Float32Array(plane.length);
    for (let line = 0; line < lines; line++) {
      const value = (i) => plane[line * stride + Math.min(Math.max(i, 0), length - 1) * step];
      let sum = 0;
      for (let i = -radius; i <= radius; i++) sum += value(i);
      for (let i = 0; i < length; i++) {
        to[line * stride + i * step] = sum / (2 * radius + 1);
        sum += value(i + radius + 1) - value(i - radius);
      }
    }
    return to;
  }

  /** From still (dark) over blue to the edge of the bin (pale yellow). */
  const ramp = (t) => [20 + 235 * t ** 1.5, 24 + 206 * t, 38 + 150 * Math.sin(Math.PI * Math.min(t * 1.15, 1)) * 0.9];

  function moves(part, bound) {
    const image = new ImageData(part.width, part.height);
    for (let i = 0; i < part.pixels; i++) {
      let furthest = 0;
      for (let k = i; k < part.before.length; k += part.pixels) {
        furthest = Math.max(furthest, part.after[k] === NOT_FINITE ? Infinity : Math.abs(part.after[k] - part.before[k]));
      }
      const isOut = furthest > bound * part.step + 1; // a step more, for rounding to steps
      image.data.set(isOut ? OUT : ramp(Math.min(furthest / (bound * part.step), 1)), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    return image;
  }

  const put = (canvas, image) => {
    canvas.width = image.width; canvas.height = image.height;
    canvas.getContext('2d').putImageData(image, 0, 0);
  };
  const mode = () => document.querySelector('input[name=mode]:checked').value;
  const number = (id) => Number($(id).value);
  const through = () => ($('view').value === 'view' ? view : null);

  /** Draws the current part as the controls say. */
  function draw() {
    const stops = number('exposure'), gain = 2 ** number('gain'), kind = mode();
    const texts = {exposure: `${stops > 0 ? '+' : ''}${stops} stops`, gamma: number('gamma').toFixed(2), gain: `\u00d7${gain.toFixed(gain < 10 ? 1 : 0)}`};
    for (const [id, text] of Object.entries(texts)) {
      document.querySelector(`output[for=${id}]`).textContent = text;
      $(id).setAttribute('aria-valuetext', text);
      $(id).disabled = (id === 'gain') !== (kind === 'stretched') || kind === 'moves';
    }
    $('view').disabled = kind !== 'picture';
    $('compare').hidden = kind === 'moves' || !shown;
    $('moves').hidden = kind !== 'moves' || !shown;
    if (!shown) return;
    if (kind === 'moves') { put($('map'), moves(shown, frames[current].bound)); return; }
    for (const side of ['before', 'after']) {
      put($(side), kind === 'stretched' ? stretch(shown, shown[side], gain)
        : develop(shown, shown[side], stops, number('gamma'), through()));
    }
  }

  /** Lets the picture fill the stage, but not the laptop's screen. */
  function fit() {
    if (!shown) return;
    const wide = $('caption').parentElement.clientWidth, high = Math.max(window.innerHeight - 250, 260);
    const width = `${Math.round(Math.min(wide, high * shown.width / shown.height))}px`;
    $('compare').style.width = width; $('moves').style.width = width;
  }

  function caption(part, frame) {
    const every = part.stride > 1 ? `every ${part.stride}th pixel`.replace('2th', '2nd').replace('3th', '3rd') : 'every pixel';
    const where = $('part').value === 'detail' && frame.detail ? `detail at x ${part.x}, y ${part.y}: the source's worst banding` : 'whole frame';
    return `${where}, ${part.width} \u00d7 ${part.height}, ${every}`;
  }

  async function show(index) {
    current = Math.min(Math.max(index, 0), frames.length - 1);
    const frame = frames[current], asked = current;
    $('name').textContent = `Frame ${frame.label}`;
    $('state').textContent = frame.faults.join('; ') || 'requantises to the source';
    $('state').classList.toggle('bad', frame.faults.length > 0);
    $('numbers').replaceChildren(...frame.numbers.map(([name, text]) => {
      const pair = element('div', '');
      pair.append(element('dt', name), element('dd', text));
      return pair;
    }));
    const comb = $(`comb-${current}`);
    $('histogram').replaceChildren(...(comb ? [comb.content.cloneNode(true)] : []));
    $('part').querySelector('[value=detail]').disabled = !frame.detail;
    for (const link of document.querySelectorAll('#thumbs a')) {
      if (link.hash === `#${current}`) {
        link.setAttribute('aria-current', 'true');
        const strip = $('thumbs');
        strip.scrollLeft = link.offsetLeft - strip.offsetLeft - (strip.clientWidth - link.clientWidth) / 2;
      } else link.removeAttribute('aria-current');
    }
    for (const line of document.querySelectorAll('.here')) {
      const share = frames.length > 1 ? current / (frames.length - 1) : 0;
      line.setAttribute('transform', `translate(${facts.plot.width * share} 0)`);
    }
    const part = frame.whole && await picture($('part').value === 'detail' && frame.detail ? 'detail' : 'whole', current);
    if (asked !== current) return; // the next frame was asked for meanwhile
    shown = part;
    $('message').hidden = Boolean(part);
    $('message').textContent = part ? '' : `No picture of frame ${frame.label}: ${frame.faults.join('; ')}`;
    $('caption').textContent = part ? caption(part, frame) : '';
    fit();
    draw();
    document.body.dataset.shown = `${current}`;
  }

  const element = (name, text) => Object.assign(document.createElement(name), {textContent: text});
  const go = (index) => {
    history.replaceState(null, '', `#${Math.min(Math.max(index, 0), frames.length - 1)}`);
    return show(index);
  };

  async function drawThumbs() {
    for (const [index, frame] of frames.entries()) {
      if (!frame.whole) continue;
      const part = unpack(frame.whole, await inflate(`whole-${index}`));
      const every = Math.max(1, Math.floor(part.height / 56)), small = thin(part, every);
      put(document.querySelector(`#thumbs a[href="#${index}"] canvas`), develop(small, small.after, 0, 1, view));
    }
    document.body.dataset.thumbs = 'drawn';
  }

  function thin(part, every) {
    const width = Math.ceil(part.width / every), height = Math.ceil(part.height / every), pixels = width * height;
    const after = new Uint16Array(pixels * part.channels);
    for (let i = 0; i < after.length; i++) {
      const k = Math.floor(i / pixels), y = Math.floor((i % pixels) / width), x = i % width;
      after[i] = part.after[k * part.pixels + y * every * part.width + ((i % pixels) % width) * every];
    }
    return {...part, width, height, pixels, after};
  }

  function reset() {
    for (const id of ['exposure', 'gamma', 'gain']) $(id).value = $(id).defaultValue;
    $('slider').value = 50;
    slid();
    draw();
  }

  function slid() {
    const share = Math.round($('slider').value);
    $('slider').setAttribute('aria-valuenow', share);
    $('slider').setAttribute('aria-valuetext', `${share} % before`);
  }

  const setMode = (value) => { document.querySelector(`input[value=${value}]`).checked = true; draw(); };
  const keys = {
    ArrowLeft: () => go(current - 1), ArrowRight: () => go(current + 1), PageUp: () => go(current - 1),
    PageDown: () => go(current + 1), Home: () => go(0), End: () => go(frames.length - 1), w: () => go(facts.worst),
    1: () => setMode('picture'), 2: () => setMode('stretched'), 3: () => setMode('moves'), r: reset,
    d: () => { $('part').value = $('part').value === 'whole' && frames[current].detail ? 'detail' : 'whole'; show(current); },
  };

  document.addEventListener('keydown', (event) => {
    const busy = event.target.closest('input, select, img-comparison-slider, .scroll');
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    const types = event.target.closest('select'); // letters choose an option there
    if (!act || types || event.ctrlKey || event.metaKey || event.altKey || (busy && event.key.length > 1)) return;
    event.preventDefault();
    act();
  });
  for (const id of ['exposure', 'gamma', 'gain']) {
    let waiting = false; // several events a frame would queue up behind the drawing
    $(id).addEventListener('input', () => {
      if (!waiting) requestAnimationFrame(() => { waiting = false; draw(); });
      waiting = true;
    });
  }
  for (const radio of document.querySelectorAll('input[name=mode]')) radio.addEventListener('change', draw);
  $('view').addEventListener('change', draw);
  $('part').addEventListener('change', () => show(current));
  $('previous').addEventListener('click', () => go(current - 1));
  $('next').addEventListener('click', () => go(current + 1));
  $('reset').addEventListener('click', reset);
  $('slider').addEventListener('slide', slid);
  window.addEventListener('hashchange', () => show(Number(location.hash.slice(1)) || 0));
  window.addEventListener('resize', fit);
  window.addEventListener('beforeprint', () => { for (const one of document.querySelectorAll('details')) one.open = true; });
  for (const svg of document.querySelectorAll('.plot svg')) {
    svg.addEventListener('click', (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      go(Math.round((at.x - facts.plot.left) / facts.plot.width * (frames.length - 1)));
    });
  }

  async function start() {
    const legend = new ImageData(256, 1);
    for (let i = 0; i < 256; i++) legend.data.set([...ramp(i / 255), 255], 4 * i);
    put($('legend'), legend);
    if (facts.view) view = await unpackView();
    await show(location.hash ? Number(location.hash.slice(1)) || 0 : facts.worst);
    await drawThumbs();
  }
  start();
})();

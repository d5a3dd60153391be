// One slice of several images, drawn from their stored 16-bit steps: one grey window, one signed scale, one crop.
// The numbers are turned into colours exactly as `mrisynth.results.pictures` does it.

const LINE = "#e8830c";
const MOST_ZOOM = 16;

export default function (component) {
  const { data, parentElement, setTriggerValue, setStateValue } = component;
  const root = parentElement.querySelector(".panels");
  const state = (root.state ??= { crop: data.crop, swipe: 0.5, drawn: [] });
  Object.assign(state, { data, send: setTriggerValue, keep: setStateValue, drawn: [] });
  state.images = new Map(data.panels.map((panel) => [panel.key, decode(panel, data.shape)]));
  root.style.setProperty("--columns", data.columns);
  root.setAttribute("aria-label", data.label);
  const figures = data.view === "swipe" ? [swipeFigure(root)] : [grid(root)];
  root.replaceChildren(tools(root), ...figures, bars(data));
  root.onkeydown = (event) => press(root, event);
  redraw(root);
  const watcher = new ResizeObserver(() => redraw(root));
  watcher.observe(root);
  return () => watcher.disconnect();
}

function decode(panel, [height, width]) {
  const bytes = fromBase64(panel.steps);
  const steps = new Uint16Array(bytes.buffer);
  const values = new Float32Array(height * width);
  for (let at = 0; at < values.length; at++) values[at] = steps[at] * panel.scale + panel.offset;
  return { ...panel, values };
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Halves go to the even number, as numpy's rint has it.
function rint(value) {
  const nearest = Math.round(value);
  return Math.abs(value % 1) === 0.5 && nearest % 2 ? nearest - 1 : nearest;
}

function clip(value, least, most) {
  return Math.min(most, Math.max(least, value));
}

function greyLevel(value, { black, white }) {
  return rint(clip((value - black) / (white - black), 0, 1) * 255);
}

// `colour` says which of the colours in its table a value has: a table is much faster than a triple a pixel.
function paint(values, [height, width], { table, at }) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const pixels = new ImageData(width, height);
  const packed = new Uint32Array(pixels.data.buffer);
  for (let pixel = 0; pixel < packed.length; pixel++) packed[pixel] = table[at(values[pixel])];
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function greys(window) {
  return { table: Uint32Array.from({ length: 256 }, (_, level) => pack(level, level, level)), at: (value) => greyLevel(value, window) };
}

function signs({ limit }, text) {
  const bytes = fromBase64(text);
  const table = Uint32Array.from({ length: 511 }, (_, at) => pack(...bytes.subarray(3 * at, 3 * at + 3)));
  return { table, at: (value) => rint(clip(value / limit, -1, 1) * 255) + 255 };
}

function pack(red, green, blue) {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

function difference(values, reference) {
  return values.map((value, at) => value - reference[at]);
}

function layer(state, key, signed) {
  const { data, images } = state;
  const image = images.get(key);
  if (!signed) return { values: image.values, source: paint(image.values, data.shape, greys(data.window)) };
  const values = difference(image.values, images.get(data.reference).values);
  return { values, signed, source: paint(values, data.shape, signs(data.window, data.colours)) };
}

function grid(root) {
  const { data } = root.state;
  const element = make("div", "grid");
  for (const panel of data.panels) {
    const layers = [];
    if (data.view !== "differences") layers.push(layer(root.state, panel.key, false));
    if (data.view !== "images" && panel.key !== data.reference) layers.push(layer(root.state, panel.key, true));
    if (!layers.length) continue;
    const figure = make("figure");
    const caption = make("figcaption");
    const value = make("span", "value");
    caption.append(make("b", "", panel.title), make("span", "detail", panel.detail), value);
    caption.title = `${panel.title} ${panel.detail}`;
    figure.append(caption);
    for (const each of layers) {
      const canvas = imageCanvas(root, describe(data, panel, each.signed));
      canvas.dataset.panel = panel.key + (each.signed ? "-difference" : "");
      figure.append(canvas);
      root.state.drawn.push({ canvas, ...each, value });
    }
    element.append(figure);
  }
  return element;
}

function describe(data, panel, signed) {
  const name = panel.detail ? `${panel.title}, ${panel.detail}` : panel.title;
  if (!signed) return `${name}: ${data.label}, grey from ${data.window.black} to ${data.window.white}`;
  return `${name} minus ${data.reference}: ${data.label}, red below zero, blue above, up to ${data.window.limit}`;
}

function swipeFigure(root) {
  const { state } = root;
  const [left, right] = state.data.swipe.map((key) => ({ ...layer(state, key, false), panel: state.images.get(key) }));
  const figure = make("figure", "swipe");
  const caption = make("figcaption");
  caption.append(make("b", "", `← ${left.panel.title}`), make("span", "value"), make("b", "", `${right.panel.title} →`));
  const names = `${left.panel.title} at the left of the line, ${right.panel.title} at its right`;
  const canvas = imageCanvas(root, `${names}: ${state.data.label}`);
  canvas.dataset.panel = "swipe";
  const slider = make("input");
  Object.assign(slider, { type: "range", min: 0, max: 100, step: 0.5, value: 100 * state.swipe });
  slider.setAttribute("aria-label", "How much of the left image is shown, in percent");
  slider.oninput = () => { state.swipe = slider.value / 100; redraw(root); };
  // Arrows on the slider move the line, not the slice.
  slider.onkeydown = (event) => event.stopPropagation();
  figure.append(caption, canvas, slider);
  state.drawn.push({ canvas, ...left, over: right, value: caption.querySelector(".value") });
  return figure;
}

function imageCanvas(root, words) {
  const canvas = make("canvas", "image");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
  listen(root, canvas);
  return canvas;
}

function listen(root, canvas) {
  const { state } = root;
  let from = null;
  canvas.onpointerdown = (event) => {
    from = { x: event.offsetX, y: event.offsetY, crop: { ...state.crop }, moved: false };
    canvas.setPointerCapture(event.pointerId);
    root.focus({ preventScroll: true });
  };
  canvas.onpointermove = (event) => {
    readValues(root, pixelAt(state, canvas, event));
    if (!from) return;
    const across = (event.offsetX - from.x) / canvas.clientWidth;
    const down = (event.offsetY - from.y) / canvas.clientHeight;
    if (Math.hypot(event.offsetX - from.x, event.offsetY - from.y) > 4) from.moved = true;
    if (from.moved && from.crop.zoom > 1) {
      moveTo(root, { ...from.crop, x: from.crop.x - across / from.crop.zoom, y: from.crop.y - down / from.crop.zoom });
    }
  };
  canvas.onpointerup = (event) => {
    if (from && !from.moved) state.send("point", pixelAt(state, canvas, event));
    from = null;
  };
  canvas.onpointerleave = () => readValues(root, null);
  canvas.onwheel = (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const at = [event.offsetX / canvas.clientWidth - 0.5, event.offsetY / canvas.clientHeight - 0.5];
    zoomBy(root, event.deltaY < 0 ? 1.25 : 0.8, at);
  };
}

function pixelAt({ data, crop }, canvas, event) {
  const [height, width] = data.shape;
  const across = crop.x + (event.offsetX / canvas.clientWidth - 0.5) / crop.zoom;
  const down = crop.y + (event.offsetY / canvas.clientHeight - 0.5) / crop.zoom;
  return [clip(Math.floor(down * height), 0, height - 1), clip(Math.floor(across * width), 0, width - 1)];
}

function readValues({ state }, pixel) {
  for (const { value } of state.drawn) value.textContent = "";
  if (!pixel) return;
  const at = pixel[0] * state.data.shape[1] + pixel[1];
  for (const { value, values, signed, over } of state.drawn) {
    const words = over ? [values[at].toFixed(3), over.values[at].toFixed(3)].join(" | ") : values[at].toFixed(3);
    value.textContent += signed ? ` (${values[at] < 0 ? "" : "+"}${words})` : words;
  }
}

function press(root, event) {
  const { state } = root;
  const acts = {
    ArrowLeft: () => state.send("step", -1), ArrowRight: () => state.send("step", 1),
    ArrowDown: () => state.send("step", -1), ArrowUp: () => state.send("step", 1),
    "+": () => zoomBy(root, 1.5), "=": () => zoomBy(root, 1.5), "-": () => zoomBy(root, 1 / 1.5),
    0: () => moveTo(root, { x: 0.5, y: 0.5, zoom: 1 }),
  };
  if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  acts[event.key]();
}

function zoomBy(root, factor, at = [0, 0]) {
  const { x, y, zoom } = root.state.crop;
  const next = clip(zoom * factor, 1, MOST_ZOOM);
  moveTo(root, { x: x + at[0] * (1 / zoom - 1 / next), y: y + at[1] * (1 / zoom - 1 / next), zoom: next });
}

function moveTo(root, { x, y, zoom }) {
  const { state } = root;
  const half = 0.5 / zoom;
  state.crop = { x: clip(x, half, 1 - half), y: clip(y, half, 1 - half), zoom };
  redraw(root);
  clearTimeout(state.timer);
  state.timer = setTimeout(() => state.keep("crop", state.crop), 600); // into the URL, once the hand rests
}

function redraw({ state }) {
  for (const each of state.drawn) draw(state, each);
}

function draw(state, { canvas, source, over }) {
  const { shape: [height, width], spacing } = state.data;
  const wanted = (canvas.clientWidth || width) * (window.devicePixelRatio || 1);
  canvas.width = width * Math.max(1, Math.ceil(wanted / width));
  canvas.height = Math.round((canvas.width * height * spacing[0]) / (width * spacing[1]));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const { x, y, zoom } = state.crop;
  const [wide, high] = [width / zoom, height / zoom];
  const from = [x * width - wide / 2, y * height - high / 2, wide, high];
  context.drawImage(source, ...from, 0, 0, canvas.width, canvas.height);
  if (over) {
    const edge = Math.round(state.swipe * canvas.width);
    context.save();
    context.beginPath();
    context.rect(edge, 0, canvas.width - edge, canvas.height);
    context.clip();
    context.drawImage(over.source, ...from, 0, 0, canvas.width, canvas.height);
    context.restore();
    stroke(context, [edge, 0], [edge, canvas.height], []);
  }
  drawProfile(state, canvas, context);
}

function drawProfile({ data, crop }, canvas, context) {
  if (!data.profile) return;
  const across = data.profile.axis === "column";
  const size = data.shape[across ? 1 : 0];
  const place = ((data.profile.at + 0.5) / size - (across ? crop.x : crop.y)) * crop.zoom + 0.5;
  const [width, height] = [canvas.width, canvas.height];
  const ends = across ? [[place * width, 0], [place * width, height]] : [[0, place * height], [width, place * height]];
  stroke(context, ...ends, [8, 8]);
}

function stroke(context, from, to, dash) {
  context.strokeStyle = LINE;
  context.lineWidth = 2;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function tools(root) {
  const line = make("div", "tools");
  const button = (text, words, act) => {
    const each = make("button", "", text);
    each.setAttribute("aria-label", words);
    each.title = words;
    each.onclick = act;
    return each;
  };
  line.append(
    button("+", "Zoom in, all images alike", () => zoomBy(root, 1.5)),
    button("−", "Zoom out, all images alike", () => zoomBy(root, 1 / 1.5)),
    button("whole", "Show whole images", () => moveTo(root, { x: 0.5, y: 0.5, zoom: 1 })),
    make("span", "", "Click an image, then: arrow keys change the slice, + and − zoom, 0 shows all; drag moves."),
  );
  return line;
}

function bars(data) {
  const element = make("div", "bars");
  const { black, white, limit, origin } = data.window;
  if (data.view !== "differences") {
    element.append(bar(black, white, greys(data.window), [black.toFixed(2), origin, white.toFixed(2)]));
  }
  if (["differences", "both"].includes(data.view)) {
    const ends = [`−${limit.toFixed(2)} darker`, `0: as ${data.reference}`, `brighter +${limit.toFixed(2)}`];
    element.append(bar(-limit, limit, signs(data.window, data.colours), ends));
  }
  return element;
}

function bar(least, most, colour, words) {
  const steps = Float32Array.from({ length: 256 }, (_, at) => least + ((most - least) * at) / 255);
  const element = make("div", "bar");
  const canvas = paint(steps, [1, 256], colour);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Scale from ${words[0]} to ${words[2]}`);
  const line = make("div");
  line.append(...words.map((word) => make("span", "", word)));
  element.append(canvas, line);
  return element;
}

function make(tag, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text; // never as markup: names are what users wrote
  return element;
}

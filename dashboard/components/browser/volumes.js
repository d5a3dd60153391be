// Three viewers, one crosshair: low, generated with its error laid over it, and high, in one grey window.

const VIEWS = { low: "low", generated: "generated, with its error", high: "high, the truth" };
const KEYS = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0],
  PageDown: [0, 0, -1], PageUp: [0, 0, 1],
};
const OPTIONS = {
  backColor: [0, 0, 0, 1], crosshairColor: [0.91, 0.51, 0.05, 0.9], crosshairWidth: 1, multiplanarShowRender: 0,
  multiplanarLayout: 2, show3Dcrosshair: false, dragAndDropEnabled: false, isNearestInterpolation: true,
  dragMode: 3, loadingText: "", logLevel: "error", scrollRequiresFocus: true, isOrientationTextVisible: true,
};

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".volumes");
  const shown = JSON.stringify([data.files, data.window]);
  if (root.shown !== shown) {
    root.shown = shown;
    root.stop?.();
    const state = { data, keep: setStateValue, viewers: {}, ended: false };
    root.stop = () => { state.ended = true; release(state); };
    start(root, state).catch((error) => {
      if (!state.ended) root.replaceChildren(make("p", "hint", `The volumes cannot be shown: ${error.message}`));
    });
  }
  return () => { root.stop?.(); root.shown = null; };
}

function release({ viewers }) {
  for (const viewer of Object.values(viewers)) {
    viewer.cleanup();
    viewer.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

async function start(root, state) {
  const { data } = state;
  root.setAttribute("aria-label", data.label);
  root.replaceChildren(make("p", "hint", "Loading the viewer and the volumes …"));
  const { Niivue } = await import(here(data.library));
  if (state.ended) return;
  const row = make("div", "row");
  root.replaceChildren(tools(state), row, bars(data));
  for (const [name, title] of Object.entries(VIEWS)) {
    row.append(figure(state, name, title));
  }
  for (const name of Object.keys(VIEWS)) {
    const viewer = new Niivue(OPTIONS);
    state.viewers[name] = viewer;
    await viewer.attachToCanvas(state.canvases[name], false);
    await viewer.loadVolumes(layers(viewer, name, data));
    if (state.ended) return release(state);
    viewer.scene.crosshairPos = [...data.at];
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.onLocationChange = () => moved(state, name);
  }
  opacity(state, 0.6);
  root.onkeydown = (event) => press(state, event);
  readValues(state);
  root.dataset.ready = "yes";
}

// An address on this server, whatever folder it serves the dashboard under.
function here(address) {
  const folder = window.location.pathname.replace(/[^/]*$/, "");
  return new URL(folder + address.replace(/^\//, ""), window.location.origin).href;
}

function layers(viewer, name, { files, window: shown, colours }) {
  const base = { url: here(files[name]), name: `${name}.nii.gz`, colormap: "gray", cal_min: shown.black, cal_max: shown.white };
  if (name !== "generated") return [base];
  // Nothing is laid over where the error is small.
  const alpha = colours[0].map((_, at) => Math.round(255 * Math.min(1, Math.abs(at - 127.5) / 100)));
  viewer.addColormap("error", { R: colours[0], G: colours[1], B: colours[2], A: alpha, I: alpha.map((_, at) => at) });
  const edge = shown.limit * 1.001;
  return [base, { url: here(files.error), name: "error.nii.gz", colormap: "error", cal_min: -edge, cal_max: edge }];
}

function figure(state, name, title) {
  const element = make("figure");
  const caption = make("figcaption");
  const value = make("span");
  caption.append(make("b", "", title), value);
  const frame = make("div", "frame");
  const canvas = make("canvas", "planes");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title}: three planes of ${state.data.label}`);
  canvas.tabIndex = 0;
  for (const event of ["pointerdown", "wheel", "pointermove"]) {
    canvas.addEventListener(event, () => { state.leader = name; }, { passive: true, capture: true });
  }
  frame.append(canvas);
  element.append(caption, frame);
  (state.canvases ??= {})[name] = canvas;
  (state.values ??= {})[name] = value;
  return element;
}

function moved(state, name) {
  if (state.leader !== name || state.following) return;
  state.following = true;
  const { scene } = state.viewers[name];
  for (const [other, viewer] of Object.entries(state.viewers)) {
    if (other === name) continue;
    viewer.scene.crosshairPos = [...scene.crosshairPos];
    viewer.scene.pan2Dxyzmm = [...scene.pan2Dxyzmm];
    viewer.drawScene();
  }
  state.following = false;
  readValues(state);
  clearTimeout(state.timer);
  const place = [...scene.crosshairPos];
  state.timer = setTimeout(() => state.keep("at", place), 700); // into the URL, once the hand rests
}

function press(state, event) {
  const step = KEYS[event.key];
  if (!step || event.target.tagName === "INPUT") return;
  event.preventDefault();
  event.stopPropagation();
  state.leader = "generated";
  state.viewers.generated.moveCrosshairInVox(...step);
}

function readValues({ viewers, values }) {
  const found = {};
  for (const [name, viewer] of Object.entries(viewers)) {
    const [volume] = viewer.volumes;
    found[name] = volume.getValue(...viewer.frac2vox(viewer.scene.crosshairPos));
    values[name].textContent = found[name].toFixed(3);
  }
  const error = found.generated - found.high;
  values.generated.textContent += ` (${error < 0 ? "−" : "+"}${Math.abs(error).toFixed(3)})`;
  const millimetres = [...viewers.low.frac2mm(viewers.low.scene.crosshairPos)].slice(0, 3).map((at) => at.toFixed(1));
  values.place.textContent = `Crosshair at ${millimetres.join(", ")} mm (right, front, up)`;
}

function opacity(state, share) {
  state.viewers.generated.setOpacity(1, share);
}

function tools(state) {
  const line = make("div", "tools");
  const label = make("label", "", "Error over the generated volume ");
  const slider = make("input");
  Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.05, value: 0.6 });
  slider.oninput = () => opacity(state, Number(slider.value));
  label.append(slider);
  const place = make("span");
  (state.values ??= {}).place = place;
  const hint = "Click or drag to move the crosshair in all three; arrow keys and page up/down move it by a voxel. " +
    "The numbers over the images: the intensity there (0 to 1), in brackets generated - high.";
  line.append(label, place, make("span", "hint", hint));
  return line;
}

function bars({ window: { black, white, limit, origin }, colours }) {
  const element = make("div", "bars");
  const stops = colours[0].map((red, at) => `rgb(${red} ${colours[1][at]} ${colours[2][at]})`);
  element.append(
    bar("linear-gradient(to right, black, white)", [black.toFixed(2), origin, white.toFixed(2)]),
    bar(`linear-gradient(to right, ${stops.join(",")})`, [`−${limit.toFixed(2)} darker`, "0: as high", `brighter +${limit.toFixed(2)}`]),
  );
  return element;
}

function bar(colour, words) {
  const element = make("div", "bar");
  const ramp = make("i");
  ramp.style.background = colour;
  ramp.setAttribute("role", "img");
  ramp.setAttribute("aria-label", `Scale from ${words[0]} to ${words[2]}`);
  const line = make("div");
  line.append(...words.map((word) => make("span", "", word)));
  element.append(ramp, line);
  return element;
}

function make(tag, name = "", text = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text; // never as markup: names are what users wrote
  return element;
}

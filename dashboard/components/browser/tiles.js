// One tile a trial: its picture, its name, its score. A click opens the trial.

export default function ({ data, parentElement, setTriggerValue }) {
  parentElement.querySelector(".tiles").replaceChildren(...data.tiles.map((each) => tile(each, setTriggerValue)));
}

function tile({ key, title, value, detail, picture, words, link, aspect }, send) {
  const element = document.createElement(link ? "a" : "div");
  if (link) {
    element.href = link;
    element.onclick = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window, as for any link
      event.preventDefault();
      send("opened", key);
    };
  }
  element.append(picture ? image(picture, words) : absence(words, aspect));
  for (const [tag, text] of [["b", title], ["span", value], ["i", detail]]) {
    const line = document.createElement(tag);
    line.textContent = text || "\u00a0"; // never as markup: names are what users wrote
    line.title = text;
    element.append(line);
  }
  return element;
}

function image(picture, words) {
  const element = document.createElement("img");
  element.src = `data:image/png;base64,${picture}`;
  element.alt = words;
  return element;
}

function absence(words, aspect) {
  const element = document.createElement("span");
  element.className = "none";
  element.style.aspectRatio = aspect;
  element.textContent = words;
  return element;
}

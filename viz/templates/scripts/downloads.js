// Downloads: the scores of all heads as CSV or JSON, the open head as PNG or SVG.
function save(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Numbers in full, as the page has them; the cell of a score that was not measured is empty.
function asCsv({ metrics, scores, heads }) {
  const keys = Object.keys(metrics);
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [["layer", "head", ...keys.flatMap((key) => [key, `${key} stderr`])].map(quoted)];
  const number = (value) => (Number.isNaN(value) ? "" : String(value));
  scores[keys[0]].values.forEach((_, place) => {
    const numbers = keys.flatMap((key) => [scores[key].values[place], scores[key].errors[place]]);
    lines.push([Math.floor(place / heads), place % heads, ...numbers.map(number)]);
  });
  return lines.map((line) => `${line.join(",")}\r\n`).join("");
}

// The same with one row for each layer; NaN, which JSON cannot express, is null. A person's notes are in it by head.
function asJson({ metrics, scores, notes }) {
  const entry = ([key, title]) => {
    const { values, errors, n } = scores[key];
    return [key, { title, n, values: inLayers(values, scores[key]), stderr: inLayers(errors, scores[key]) }];
  };
  const written = Object.entries(notes()).map(([head, [label, note]]) => [head, { label, note }]);
  return JSON.stringify({ ...Object.fromEntries(Object.entries(metrics).map(entry)), notes: Object.fromEntries(written) });
}

// circuitsvis' canvas on white.
function asPng() {
  const matrix = document.querySelector("#matrix canvas");
  const canvas = Object.assign(document.createElement("canvas"), { width: matrix.width, height: matrix.height });
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(matrix, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function asSvg({ label, tokens, rows, largest }) {
  const [side, margin] = [14, 130];
  const size = margin + side * tokens.length + 10;
  const make = (kind, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.textContent = text;
    return element;
  };
  const svg = make("svg", { viewBox: `0 0 ${size} ${size}`, width: size, height: size, "font-family": "sans-serif", "font-size": 10 });
  svg.append(make("title", {}, label), make("rect", { width: size, height: size, fill: "#ffffff" }));
  tokens.forEach((token, index) => {
    const middle = margin + side * (index + 0.75);
    svg.append(make("text", { x: margin - 6, y: middle, "text-anchor": "end" }, token));
    svg.append(make("text", { transform: `translate(${middle} ${margin - 6}) rotate(-90)` }, token));
    rows[index].slice(0, index + 1).forEach((weight, key) => {
      const place = { x: margin + side * key, y: margin + side * index, width: side, height: side };
      const cell = make("rect", { ...place, fill: BLUE, "fill-opacity": Math.min(1, weight / largest).toFixed(3) });
      cell.append(make("title", {}, `${token} → ${tokens[key]}: ${weight.toFixed(3)}`));
      svg.append(cell);
    });
  });
  return new XMLSerializer().serializeToString(svg);
}

function makeDownloads({ metrics, scores, heads, shown, notes }) {
  const makers = {
    csv: () => save("headcount-scores.csv", asCsv({ metrics, scores, heads }), "text/csv"),
    json: () => save("headcount-scores.json", asJson({ metrics, scores, notes }), "application/json"),
    png: async () => shown() && save(`${shown().label}.png`, await asPng()),
    svg: () => shown() && save(`${shown().label}.svg`, asSvg(shown()), "image/svg+xml"),
  };
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", makers[button.dataset.download]);
  }
}

// The values of a map: float32 in base64, the first byte of every number, then the second, and so on.
function unpacked(text) {
  const planes = bytesOf(text);
  const count = planes.length / 4;
  return new Float32Array(planes.map((_, index) => planes[(index % 4) * count + (index >> 2)]).buffer);
}

// The standard error of a value, stored in steps of the last digit that is shown of the value.
function errorOf(value, steps, small) {
  if (!small) return steps * 1e-3;
  return value ? steps * Number(`1e${value.toExponential(2).split("e")[1] - 2}`) : steps;
}

// A value with its standard error, written as viz/number_format.py writes it.
function written(value, error, small) {
  if (Number.isNaN(value)) return "n/a";
  const parts = [value, error].filter((part) => !Number.isNaN(part));
  const largest = Math.max(...parts.map(Math.abs));
  const exponent = small && largest ? largest.toExponential(2).split("e")[1].replace("+", "") : "";
  const [scale, digits, end] = exponent ? [Number(`1e${exponent}`), 2, `e${exponent}`] : [1, 3, ""];
  const text = (part) => (Number((part / scale).toFixed(digits)) + 0).toFixed(digits) + end;
  return parts.map(text).join(" ± ");
}

// The rank of every value, 1 for the highest; equal values in the order of their places; NaN has no rank.
function ranks(values) {
  const places = [...values.keys()].filter((place) => !Number.isNaN(values[place]));
  places.sort((a, b) => values[b] - values[a]);
  return new Map(places.map((place, index) => [place, index + 1]));
}

const labelOf = ([layer, head]) => `L${layer}H${head}`;
const placeOf = ([layer, head], { heads }) => layer * heads + head;
const headAt = (place, { heads }) => [Math.floor(place / heads), place % heads];

// The values of a map with their errors, ranks and texts, in the order of the places layer · heads + head.
function scoresOf(meta) {
  if (!readMaps.has(meta)) readMaps.set(meta, readMap(meta));
  return readMaps.get(meta);
}

const readMaps = new WeakMap();

function readMap(meta) {
  const { title, share, n, layers } = meta;
  const values = [...unpacked(meta.values)];
  const errors = values.map((value, place) => errorOf(value, meta.errors[place] ?? NaN, meta.small));
  const texts = values.map((value, place) => written(value, errors[place], meta.small));
  return { title, share, values, errors, texts, rank: ranks(values), n, layers, heads: values.length / layers };
}

// A list of all heads as rows, one a layer.
function inLayers(all, { layers, heads }) {
  return Array.from({ length: layers }, (_, layer) => all.slice(layer * heads, (layer + 1) * heads));
}

// A map with the values and hover texts of each head, which the page does not store because they would make it large.
function unfolded(trace, scale = {}) {
  if (!trace.meta) return trace;
  const scores = scoresOf(trace.meta);
  const extras = Object.entries(trace.meta.extras ?? {}); // plotly removes empty objects from a trace that it has drawn
  const hoverTexts = scores.texts.map((text, place) => {
    const [layer, head] = headAt(place, scores);
    return [
      `<b>${labelOf([layer, head])}</b>: layer ${layer}, head ${head}`,
      trace.meta.title,
      `${text} (n = ${scores.n})`,
      `rank ${scores.rank.get(place) ?? "n/a"} of ${scores.values.length}`,
      ...extras.map(([name, values]) => `${name}: ${written(values[place] ?? NaN, NaN, false)}`),
    ].join("<br>");
  });
  return { ...trace, ...scale, z: inLayers(scores.values, scores), hovertext: inLayers(hoverTexts, scores) };
}

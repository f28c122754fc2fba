// The float32 numbers of all maps: the first byte of every number, then the second bytes, and so on.
let planes = new Uint8Array();

async function readNumbers() {
  planes = await unzipped(document.getElementById("numbers"));
}

// The numbers of one map, given the place of its first one and their count.
function unpacked([first, count]) {
  const total = planes.length / 4;
  const bytes = new Uint8Array(4 * count);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = planes[(index % 4) * total + first + (index >> 2)];
  return new Float32Array(bytes.buffer);
}

// A number with so many decimals, without a minus sign before zeros.
const fixed = (value, places) => (Number(value.toFixed(places)) + 0).toFixed(places);

// A value with its standard error, as with_error in headcount/results/presentation/number_text.py writes it.
function withError(value, error, digits) {
  if (Number.isNaN(error)) return [fixed(value, digits)];
  if (error === 0 || error === Infinity) return [fixed(value, digits), error ? "inf" : "0"];
  const places = 1 - Number(error.toExponential(1).split("e")[1]);
  if (places > 6) return [fixed(value, 6), error.toExponential(1)];
  const shown = Math.max(places, 0);
  return [fixed(value, shown), Number(error.toPrecision(2)).toFixed(shown)];
}

// The same with an exponent for both, if they are small, as viz/number_format.py writes it.
function written(value, error, small) {
  if (Number.isNaN(value)) return "n/a";
  const largest = Math.max(...[value, error].filter((part) => !Number.isNaN(part)).map(Math.abs));
  if (!small || !largest) return withError(value, error, 3).join(" ± ");
  const exponent = Number(largest.toExponential(2).split("e")[1]);
  const scale = Number(`1e${exponent}`);
  const parts = withError(value / scale, error / scale, 2);
  return parts.map((part) => (["0", "inf"].includes(part) ? part : `${part}e${exponent}`)).join(" ± ");
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
  const errors = meta.errors ? [...unpacked(meta.errors)] : values.map(() => NaN);
  const shown = n > 2 ? errors : values.map(() => NaN); // an error from two values is off by half or more
  const texts = values.map((value, place) => written(value, shown[place], meta.small));
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

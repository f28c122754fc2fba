// Two scores of the same heads: their maps, the map of their difference, and a scatter plot.
const MAPS = ["first", "second", "difference"];
const LONGEST = 56; // characters of a name on an axis

// The ranks of values minus their mean; equal values share the mean of their ranks.
function centredRanks(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const ranks = Array(values.length);
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && values[order[end]] === values[order[start]]) end += 1;
    for (let index = start; index < end; index += 1) ranks[order[index]] = (start + end - order.length) / 2;
  }
  return ranks;
}

// Spearman's rho over the heads that have both scores; NaN if one of them is the same for all.
function rankCorrelation(first, second) {
  const places = [...first.keys()].filter((place) => Number.isFinite(first[place]) && Number.isFinite(second[place]));
  const [a, b] = [first, second].map((values) => centredRanks(places.map((place) => values[place])));
  const product = (left, right) => left.reduce((sum, value, index) => sum + value * right[index], 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}

// Shares of one kind are subtracted. Other scores have no common unit: their ranks are, in percent of all heads.
function differenceOf(first, second) {
  const shares = first.share && second.share && first.title === second.title;
  const rise = (place) => (100 * ((second.rank.get(place) ?? NaN) - (first.rank.get(place) ?? NaN))) / first.values.length;
  const values = first.values.map((value, place) => (shares ? value - second.values[place] : rise(place)));
  return { shares, values, texts: values.map((value) => (Number.isNaN(value) ? "n/a" : shares ? value.toFixed(3) : `${value.toFixed(0)} %`)) };
}

// The frame around a head of a map.
function framed([layer, head], dash) {
  const sides = { x0: head - 0.5, x1: head + 0.5, y0: layer - 0.5, y1: layer + 0.5 };
  return { type: "rect", ...sides, line: { color: "#e8590c", width: 3, dash } };
}

function comparedMaps({ element, mapOf, draw, show, layoutOf, open }) {
  const plots = Object.fromEntries([...element.querySelectorAll("[data-part]")].map((plot) => [plot.dataset.part, plot]));
  let listening = false;

  function drawDifference(key, { values, texts }) {
    const scores = mapOf(key);
    const largest = Math.max(...values.filter(Number.isFinite).map(Math.abs)) || 1;
    const hoverTexts = texts.map((text, place) => `<b>${labelOf(headAt(place, scores))}</b><br>difference ${text}`);
    const bar = { thickness: 12, outlinewidth: 0, ypad: 0, nticks: 6, tickfont: { size: 11 } };
    const colours = { zmin: -largest, zmax: largest, autocolorscale: true, colorbar: bar };
    const map = { type: "heatmap", z: inLayers(values, scores), hovertext: inLayers(hoverTexts, scores), hoverinfo: "text" };
    return show(plots.difference, [{ ...map, ...colours }], layoutOf(key));
  }

  function drawScatter([first, second], names, head) {
    const points = (places, marker) => ({
      type: "scatter",
      mode: "markers",
      x: places.map((place) => first.values[place]),
      y: places.map((place) => second.values[place]),
      customdata: places,
      hoverinfo: "text",
      hovertext: places.map((place) => `<b>${labelOf(headAt(place, first))}</b><br>${first.texts[place]}<br>${second.texts[place]}`),
      marker,
      showlegend: false,
    });
    const axis = (name) => ({ title: { text: escaped(name.length > LONGEST ? `${name.slice(0, LONGEST - 1)}…` : name) }, exponentformat: "power" });
    const layout = { width: 520, height: 440, margin: { l: 70, r: 60, t: 12, b: 52 }, xaxis: axis(names[0]), yaxis: axis(names[1]) };
    const traces = [points([...first.values.keys()], { size: 5, opacity: 0.6 })];
    const ring = { size: 14, color: "#e8590c", symbol: "circle-open", line: { width: 3 } };
    if (head) traces.push(points([placeOf(head, first)], ring));
    return show(plots.scatter, traces, layout);
  }

  function writeCaptions(names, scores, shares, head) {
    const [first, second] = names;
    const difference = shares ? `${first} minus ${second}` : `How much higher a head ranks in ${first} than in ${second}, in percent of all heads`;
    const rho = rankCorrelation(...scores.map(({ values }) => values));
    const texts = {
      first,
      second,
      difference: `${difference}: orange is higher in the first, blue in the second.`,
      scatter: `${first} across, ${second} upwards, one point for each head${head ? `; the ring is ${labelOf(head)}` : ""}. Rank correlation: ${Number.isNaN(rho) ? "n/a" : rho.toFixed(3)}. A correlation of two scores does not show that one causes the other.`,
    };
    for (const [part, text] of Object.entries(texts)) plots[part].closest("figure").querySelector("figcaption").textContent = text;
  }

  function listen({ heads }) {
    if (listening) return;
    listening = true;
    for (const plot of Object.values(plots)) {
      plot.on("plotly_click", ({ points: [{ x, y, customdata }] }) => open(plot === plots.scatter ? headAt(customdata, { heads }) : [y, x]));
    }
  }

  // Draw the scores of two figures and mark the head, if there is one. Shares of one kind have a common colour scale.
  return async function compare({ keys, names, head }) {
    const scores = keys.map(mapOf);
    const difference = differenceOf(...scores);
    const highest = Math.max(...scores.flatMap(({ values }) => values.filter(Number.isFinite)));
    const scale = difference.shares ? { zmin: 0, zmax: highest } : {};
    await draw(plots.first, keys[0], scale);
    await draw(plots.second, keys[1], scale);
    await drawDifference(keys[0], difference);
    await drawScatter(scores, names, head);
    const shapes = head ? [framed(head, "solid")] : [];
    for (const part of MAPS) await Plotly.relayout(plots[part], { shapes });
    writeCaptions(names, scores, difference.shares, head);
    listen(scores[0]);
  };
}

// Text for plotly, which reads a small part of HTML.
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

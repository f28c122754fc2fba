// One of circuitsvis' views: attention of heads, one layer at a time, or tokens coloured by a value.
const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("drawing");
const reading = document.getElementById("reading");
const [BLUE, ORANGE] = ["#0b62a8", "#c25700"];

// L18H6 if both numbers are known, else the number that is known.
function nameOf(layer, head) {
  if (head === null) return layer === null ? "One head" : `A head of layer ${layer}`;
  return layer === null ? `Head ${head}` : `L${layer}H${head}`;
}

async function drawLayer(index) {
  const bytes = await unzipped(document.getElementById(`layer-${index}`));
  const [length, heads] = [data.tokens.length, data.heads.length];
  const size = bytes.length / heads;
  const patterns = data.heads.map((_, head) => rounded(squared(bytes.subarray(head * size, (head + 1) * size), length)));
  const names = data.heads.map((head) => nameOf(data.layers[index], head));
  const shared = { tokens: data.tokens, minValue: -1, maxValue: 1, positiveColor: BLUE, maskUpperTri: true };
  const [component, properties] =
    heads === 1
      ? ["AttentionPattern", { ...shared, attention: patterns[0], zoomed: true }]
      : ["AttentionHeads", { ...shared, attention: patterns, attentionHeadNames: names }];
  view.setAttribute("aria-hidden", "true"); // canvases, which a screen reader cannot read
  await drawCircuitsvis(view, component, properties);
  const name = heads === 1 ? `${names[0]}. ` : "";
  reading.textContent = `${name}Each row is a query and distributes a weight of 1 over the keys up to itself; darker is more. Where a head attends does not show what it writes.`;
}

async function drawTokens() {
  const limits = { minValue: -data.largest, maxValue: data.largest, negativeColor: BLUE, positiveColor: ORANGE };
  await drawCircuitsvis(view, "ColoredTokens", { tokens: data.tokens, values: data.values, ...limits });
  reading.textContent = `Orange is above 0, blue below, white is 0; the full colour is ±${data.largest}. Hover for a token's value.`;
}

function chooseLayer() {
  const select = document.getElementById("layer");
  select.append(...data.layers.map((layer, index) => new Option(String(layer), String(index))));
  select.addEventListener("change", () => drawLayer(Number(select.value)));
  document.getElementById("layer-choice").hidden = data.layers.length < 2;
  return drawLayer(0);
}

const draw = data.kind === "tokens" ? drawTokens : chooseLayer;
draw().finally(() => document.documentElement.setAttribute("data-ready", ""));

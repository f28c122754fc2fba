// One of circuitsvis' views: what heads attend to, a layer at a time, or tokens by a value.
const data = JSON.parse(document.getElementById("data").textContent);
const drawing = document.getElementById("drawing");
const reading = document.getElementById("reading");
const [BLUE, ORANGE] = ["#0b62a8", "#c25700"];

// L18H6 where both numbers are known, else what is known of it.
function named(layer, head) {
  if (head === null) return layer === null ? "One head" : `A head of layer ${layer}`;
  return layer === null ? `Head ${head}` : `L${layer}H${head}`;
}

async function drawLayer(index) {
  const bytes = await unzipped(document.getElementById(`layer-${index}`));
  const [length, heads] = [data.tokens.length, data.heads.length];
  const size = bytes.length / heads;
  const patterns = data.heads.map((_, head) => rounded(squared(bytes.subarray(head * size, (head + 1) * size), length)));
  const names = data.heads.map((head) => named(data.layers[index], head));
  const shared = { tokens: data.tokens, minValue: -1, maxValue: 1, positiveColor: BLUE, maskUpperTri: true };
  const [component, properties] =
    heads === 1
      ? ["AttentionPattern", { ...shared, attention: patterns[0], zoomed: true }]
      : ["AttentionHeads", { ...shared, attention: patterns, attentionHeadNames: names }];
  drawing.setAttribute("aria-hidden", "true"); // canvases, which say nothing to those who cannot see them
  await drawCircuit(drawing, component, properties);
  const which = heads === 1 ? `${names[0]}. ` : "";
  reading.textContent = `${which}Each row is a query and shares out a weight of 1 among the keys up to itself: the darker, the more. Where a head looks does not show what it writes.`;
}

async function drawTokens() {
  const limits = { minValue: -data.most, maxValue: data.most, negativeColor: BLUE, positiveColor: ORANGE };
  await drawCircuit(drawing, "ColoredTokens", { tokens: data.tokens, values: data.values, ...limits });
  reading.textContent = `Orange is above 0, blue below, white 0; the colour is full at ±${data.most}. Hover for a token's value.`;
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

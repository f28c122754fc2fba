// What heads attend to, as the page stores it: one packed element for each prompt and layer, read when it is opened.
const [NONE, WHOLE, STRONGEST] = [0, 1, 2];

async function storedAttention() {
  const element = document.getElementById("patterns");
  if (!element) return null;
  const stored = JSON.parse(await inflated(element));
  const prompts = stored.prompts.map((prompt) => ({ ...prompt, sink: bytesOf(prompt.sink) }));
  return { ...stored, prompts, levels: bytesOf(stored.levels) };
}

// Each layer is inflated once, also where the open head and the small patterns of its layer ask for it at once.
const inflatedLayers = new Map();

function layerBytes(id) {
  if (!inflatedLayers.has(id)) inflatedLayers.set(id, unzipped(document.getElementById(id)));
  return inflatedLayers.get(id);
}

// The rows of a pattern from the strongest keys of each row and their weights; all other weights are 0.
function strongestKeys(bytes, length, keys) {
  const weights = bytes.subarray(length * keys);
  return Array.from({ length }, (_, query) => {
    const row = Array(length).fill(0);
    for (let index = query * keys; index < (query + 1) * keys; index += 1) row[bytes[index]] = weights[index] / 255;
    return row;
  });
}

// A head's weights [query][key] on a prompt, and true if they are the whole pattern; null if they are not stored.
async function patternOf(stored, prompt, layer, head) {
  const levels = stored.levels.subarray(layer * stored.heads, (layer + 1) * stored.heads);
  if (levels[head] === NONE) return null;
  const length = stored.prompts[prompt].tokens.length;
  const keys = Math.min(stored.keys, length);
  const sizes = { [NONE]: 0, [WHOLE]: (length * (length + 1)) / 2, [STRONGEST]: 2 * length * keys };
  const start = levels.subarray(0, head).reduce((sum, level) => sum + sizes[level], 0);
  const bytes = (await layerBytes(`patterns-${prompt}-${layer}`)).subarray(start, start + sizes[levels[head]]);
  const rows = levels[head] === WHOLE ? squared(bytes, length) : strongestKeys(bytes, length, keys);
  return { rows: rounded(rows), whole: levels[head] === WHOLE };
}

// The share of all attention that is in these weights; the rest is in weights too small for a level, or not stored.
function storedShare(rows) {
  return Math.min(1, rows.flat().reduce((sum, weight) => sum + weight, 0) / rows.length);
}

const byId = (id) => document.getElementById(id);

// Base64 to bytes. A loop, because `Uint8Array.from` takes ten times as long and plotly is large.
function bytesOf(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = characters.charCodeAt(index);
  return bytes;
}

// Text to bytes, as as_signs in viz/rendering.py writes it: two signs for every 13 bits.
const SIGNS = ` \t${Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join("").replace(/[&<>"']/g, "")}`;

function bytesOfSigns(text) {
  const places = new Uint8Array(128);
  [...SIGNS].forEach((sign, place) => { places[sign.charCodeAt(0)] = place; });
  const pairs = text.length >> 1;
  const bytes = new Uint8Array(Math.floor((13 * pairs) / 8) - (text.length & 1));
  let [buffer, bits, done] = [0, 0, 0];
  for (let pair = 0; pair < pairs; pair += 1) {
    buffer = (buffer << 13) | (91 * places[text.charCodeAt(2 * pair)] + places[text.charCodeAt(2 * pair + 1)]);
    for (bits += 13; bits >= 8 && done < bytes.length; done += 1) {
      bits -= 8;
      bytes[done] = buffer >> bits;
    }
    buffer &= (1 << bits) - 1;
  }
  return bytes;
}

// A packed element back to bytes.
async function unzipped(element) {
  const stream = new Blob([bytesOfSigns(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function inflated(element) {
  return new TextDecoder().decode(await unzipped(element));
}

// Packed tables, which keep the page small, replace the elements that hold them.
async function unfoldTables(root) {
  for (const element of root.querySelectorAll("[data-folded]")) element.outerHTML = await inflated(element);
}

// Each script is inflated and run once, when it is first needed.
const loading = {};

function loaded(id) {
  loading[id] ??= inflated(document.getElementById(id)).then((source) => {
    const script = document.createElement("script");
    script.textContent = source;
    document.head.append(script);
  });
  return loading[id];
}

// The rows of a pattern from its lower triangle, as numbers from 0 to 1; 0 where the key comes after the query.
function squared(triangle, length) {
  return Array.from({ length }, (_, query) => {
    const start = (query * (query + 1)) / 2;
    return Array.from({ length }, (_, key) => (key <= query ? triangle[start + key] / 255 : 0));
  });
}

// Three decimals distinguish all 256 levels.
const rounded = (rows) => rows.map((row) => row.map((weight) => Math.round(weight * 1000) / 1000));

let rendered = 0;

// circuitsvis renders into an element by its id, and into each element once: every view gets a new one.
async function drawCircuitsvis(parent, component, properties) {
  await loaded("circuits");
  const element = document.createElement("div");
  element.id = `drawn-${(rendered += 1)}`;
  parent.replaceChildren(element);
  CircuitsVis.render(element.id, CircuitsVis[component], properties);
}

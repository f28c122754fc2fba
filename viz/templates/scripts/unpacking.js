// Base64 to bytes. A loop, because `Uint8Array.from` takes ten times as long and plotly is large.
function bytesOf(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = characters.charCodeAt(index);
  return bytes;
}

// Base64 of gzip, as Python writes it, back to bytes.
async function unzipped(element) {
  const stream = new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function inflated(element) {
  return new TextDecoder().decode(await unzipped(element));
}

// Packed tables, which keep the page small, replace the elements that hold them.
async function unfoldTables() {
  for (const element of document.querySelectorAll("[data-folded]")) element.outerHTML = await inflated(element);
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

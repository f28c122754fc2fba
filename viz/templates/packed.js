// Base64 to bytes; a loop, since `Uint8Array.from` takes ten times as long and plotly is large.
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

// Tables that are packed to keep the page small take the place of the elements that hold them.
async function unfoldTables() {
  for (const folded of document.querySelectorAll("[data-folded]")) folded.outerHTML = await inflated(folded);
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

// A pattern's rows from its lower triangle, in numbers from 0 to 1; 0 where the key comes after the query.
function squared(triangle, length) {
  return Array.from({ length }, (_, query) => {
    const start = (query * (query + 1)) / 2;
    return Array.from({ length }, (_, key) => (key <= query ? triangle[start + key] / 255 : 0));
  });
}

// Three decimals tell all 256 levels apart.
const rounded = (rows) => rows.map((row) => row.map((weight) => Math.round(weight * 1000) / 1000));

let drawn = 0;

// circuitsvis renders into an element by its id, and each element once: every drawing gets a new one.
async function drawCircuit(parent, component, properties) {
  await loaded("circuits");
  const place = document.createElement("div");
  place.id = `drawn-${(drawn += 1)}`;
  parent.replaceChildren(place);
  CircuitsVis.render(place.id, CircuitsVis[component], properties);
}

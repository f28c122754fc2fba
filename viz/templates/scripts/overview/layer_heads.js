// All heads of the open layer at once, as small patterns; position 0 is left out where the toggle says so.
const SIDE = 72; // pixels

function smallPattern(rows, hidden) {
  const canvas = Object.assign(document.createElement("canvas"), { width: rows.length, height: rows.length });
  const context = canvas.getContext("2d");
  const image = context.createImageData(rows.length, rows.length);
  rows.forEach((row, query) => row.slice(0, query + 1).forEach((weight, key) => {
    const place = 4 * (query * rows.length + key);
    image.data.set([11, 98, 168, hidden && key === 0 ? 0 : Math.round(255 * Math.sqrt(Math.min(1, weight)))], place);
  }));
  context.putImageData(image, 0, 0);
  canvas.style.width = canvas.style.height = `${SIDE}px`;
  return canvas;
}

async function drawLayerHeads({ element, stored, prompt, head, hidden }) {
  const drawn = [];
  for (let index = 0; index < stored.heads; index += 1) {
    const pattern = await patternOf(stored, prompt, head[0], index);
    const link = headLink(labelOf([head[0], index]));
    link.className = "small";
    link.prepend(...(pattern ? [smallPattern(pattern.rows, hidden)] : []));
    if (index === head[1]) link.setAttribute("aria-current", "true");
    drawn.push(link);
  }
  element.replaceChildren(...drawn);
}

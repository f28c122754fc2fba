// Names of heads are links wherever they stand alone in text, and a head can be found by its name or numbers.
let shape = null; // of the model, once scores are read
const exists = ([layer, head]) => shape !== null && layer < shape.layers && head < shape.heads;
const NAMES = /\bL(\d+)H(\d+)\b/g;
const PLAIN = "td, th, li, p, figcaption, h2, dd";

function linkHeads(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    const fixed = parent.closest("a, button, script, option, summary, pre, code, svg, .plot, #explorer, [role=status], [data-literal]");
    if (!fixed && parent.closest(PLAIN) && walker.currentNode.data.search(NAMES) >= 0) texts.push(walker.currentNode);
  }
  texts.forEach(linkText);
}

function linkText(node) {
  const [parts, text] = [[], node.data];
  let end = 0;
  for (const match of text.matchAll(NAMES)) {
    if (!exists([Number(match[1]), Number(match[2])])) continue;
    parts.push(text.slice(end, match.index), headLink(match[0]));
    end = match.index + match[0].length;
  }
  if (parts.length) node.replaceWith(...parts, text.slice(end));
}

const headLink = (label) => Object.assign(document.createElement("a"), { href: `#h=${label}`, textContent: label });

// "L18H6", "18.6", "18 6" or "18,6" as layer and head; null for anything else.
function headOf(text) {
  const match = /^\s*L?(\d+)\s*[H.,:\s]\s*(\d+)\s*$/i.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : null;
}

function startFinding(open) {
  const form = byId("find");
  if (!form) return;
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const head = headOf(byId("find-head").value);
    byId("find-text").textContent = head && exists(head) ? "" : `no such head: layers to ${shape.layers - 1}, heads to ${shape.heads - 1}`;
    if (head && exists(head)) open(head);
  });
}

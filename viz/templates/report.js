"use strict";

// Base64 of gzip, as the report writes it, back to text.
async function inflated(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function load(source) {
  const script = document.createElement("script");
  script.textContent = source;
  document.head.append(script);
}

const CONFIG = {
  displaylogo: false,
  showSendToCloud: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
};

async function drawFigures() {
  const plots = [...document.querySelectorAll("[data-figure]")];
  if (!plots.length) return;
  const [data, plotly] = await Promise.all([inflated("data"), inflated("plotly")]);
  load(plotly);
  const { figures, templates } = JSON.parse(data);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const scheme = () => (dark.matches && !matchMedia("print").matches ? "dark" : "light");

  for (const plot of plots) {
    const { data: traces, layout } = figures[plot.dataset.figure];
    plot.replaceChildren();
    await Plotly.newPlot(plot, traces, { ...layout, template: templates[scheme()] }, CONFIG);
  }
  const recolour = (name) => plots.forEach((plot) => Plotly.relayout(plot, { template: templates[name] }));
  dark.addEventListener("change", () => recolour(scheme()));
  // Paper is white, whatever the screen is.
  addEventListener("beforeprint", () => recolour("light"));
  addEventListener("afterprint", () => recolour(scheme()));
}

// Sorting keeps the order of equal rows; what was not measured stays at the end in either direction.
function sortBy(table, column, direction) {
  const order = (row) => row.cells[column].dataset.order;
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => {
    if (order(a) === "" || order(b) === "") return (order(a) === "") - (order(b) === "");
    return direction * (order(a) - order(b));
  });
  body.append(...rows);
}

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" };
      const direction = turned[heading.getAttribute("aria-sort")] ?? heading.dataset.first ?? "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", direction);
      sortBy(table, column, direction === "ascending" ? 1 : -1);
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
drawFigures().finally(() => document.documentElement.setAttribute("data-ready", ""));

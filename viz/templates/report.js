"use strict";

{% include "packed.js" %}

const CONFIG = {
  displaylogo: false,
  showSendToCloud: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
};

// The values of a map: float32 in base64, the first byte of every number, then the second, and so on.
function unpacked(text) {
  const planes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const count = planes.length / 4;
  return new Float32Array(planes.map((_, index) => planes[(index % 4) * count + (index >> 2)]).buffer);
}

// The standard error of a value, which comes in steps of the last digit that is shown of the value.
function errorOf(value, steps, small) {
  if (!small) return steps * 1e-3;
  return value ? steps * Number(`1e${value.toExponential(2).split("e")[1] - 2}`) : steps;
}

// A value with its standard error, written as viz/words.py writes it.
function written(value, error, small) {
  if (Number.isNaN(value)) return "n/a";
  const parts = [value, error].filter((part) => !Number.isNaN(part));
  const largest = Math.max(...parts.map(Math.abs));
  const exponent = small && largest ? largest.toExponential(2).split("e")[1].replace("+", "") : "";
  const [scale, digits, end] = exponent ? [Number(`1e${exponent}`), 2, `e${exponent}`] : [1, 3, ""];
  const text = (part) => (Number((part / scale).toFixed(digits)) + 0).toFixed(digits) + end;
  return parts.map(text).join(" ± ");
}

// The rank of every value, 1 for the highest; equal values in the order of their places, NaN without a rank.
function ranks(values) {
  const places = [...values.keys()].filter((place) => !Number.isNaN(values[place]));
  places.sort((a, b) => values[b] - values[a]);
  return new Map(places.map((place, index) => [place, index + 1]));
}

// A map that came without texts, many of which would make the page large, with what it shows and says of each head.
function unfolded(trace) {
  if (!trace.meta) return trace;
  const { title, n, layers, small, values: packed, errors } = trace.meta;
  const values = [...unpacked(packed)];
  const heads = values.length / layers;
  const rank = ranks(values);
  const texts = values.map((value, place) => {
    const [layer, head] = [Math.floor(place / heads), place % heads];
    const error = errorOf(value, errors[place] ?? NaN, small);
    return [
      `<b>L${layer}H${head}</b>: layer ${layer}, head ${head}`,
      title,
      `${written(value, error, small)} (n = ${n})`,
      `rank ${rank.get(place) ?? "n/a"} of ${values.length}`,
    ].join("<br>");
  });
  const rows = (all) => Array.from({ length: layers }, (_, layer) => all.slice(layer * heads, (layer + 1) * heads));
  return { ...trace, z: rows(values), hovertext: rows(texts) };
}

async function drawFigures() {
  const plots = [...document.querySelectorAll("[data-figure]")];
  if (!plots.length) return;
  const [data] = await Promise.all([inflated("data"), loaded("plotly")]);
  const { figures, layouts, templates } = JSON.parse(data);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const scheme = () => (dark.matches && !matchMedia("print").matches ? "dark" : "light");

  const draw = (plot) => {
    const { data: traces, layout } = figures[plot.dataset.figure];
    return Plotly.react(plot, traces.map(unfolded), { ...layouts[layout], template: templates[scheme()] }, CONFIG);
  };
  for (const plot of plots) {
    plot.replaceChildren();
    await draw(plot);
  }
  document.querySelectorAll(".choose select").forEach((select) => makeChooser(select, draw));
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

// Shows the figure and the table of what is chosen, and folds the others away.
function makeChooser(select, draw) {
  const section = select.closest("section");
  const plot = section.querySelector("[data-figure]");
  const show = () => {
    for (const choice of section.querySelectorAll("[data-choice]")) {
      choice.hidden = choice.dataset.choice !== select.value;
      choice.open = !choice.hidden;
    }
    if (!plot) return; // its tables say all
    section.querySelector("[data-chosen]").textContent = select.selectedOptions[0].textContent;
    if (plot.dataset.figure === select.value) return;
    plot.dataset.figure = select.value;
    draw(plot);
  };
  select.addEventListener("change", show);
  select.closest(".choose").hidden = false;
  show();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
drawFigures().finally(() => document.documentElement.setAttribute("data-ready", ""));

// Plotly must be loaded: it has the icon.
function figureConfig() {
  const svg = {
    name: "toSvg",
    title: "Download figure as SVG",
    icon: Plotly.Icons.disk,
    click: (plot) => Plotly.downloadImage(plot, { format: "svg", filename: "headcount" }),
  };
  return {
    displaylogo: false,
    showSendToCloud: false,
    toImageButtonOptions: { filename: "headcount", scale: 2 },
    modeBarButtons: [["toImage", svg, "resetScale2d"]],
  };
}

async function drawFigures() {
  const plots = [...document.querySelectorAll("[data-figure]")];
  const explorer = document.getElementById("explorer");
  if (!plots.length && !explorer) return;
  const [data] = await Promise.all([inflated(document.getElementById("data")), readNumbers(), loaded("plotly")]);
  const { figures, layouts, templates, metrics } = JSON.parse(data);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const scheme = () => (dark.matches && !matchMedia("print").matches ? "dark" : "light");
  const config = figureConfig();

  const show = (plot, traces, layout) =>
    Plotly.react(plot, traces, { ...layout, template: templates[scheme()] }, config);
  const layoutOf = (name) => layouts[figures[name].layout];
  const mapOf = (name) => scoresOf(figures[name].data.find((trace) => trace.meta).meta);
  const draw = (plot, name = plot.dataset.figure, scale = {}) =>
    show(plot, figures[name].data.map((trace) => unfolded(trace, scale)), layoutOf(name));
  const plotting = { mapOf, layoutOf, draw, show };
  for (const plot of plots) {
    plot.replaceChildren();
    await draw(plot);
  }
  document.querySelectorAll("[id^=choose-]").forEach((select) => makeChooser(select, draw));
  if (explorer) await startExplorer({ metrics, plots, ...plotting });
  if (document.getElementById("against-maps")) await startComparison(plotting);
  const recolour = (name) =>
    document.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.relayout(plot, { template: templates[name] }));
  dark.addEventListener("change", () => recolour(scheme()));
  // Paper is white, whatever the screen is.
  addEventListener("beforeprint", () => recolour("light"));
  addEventListener("afterprint", () => recolour(scheme()));
}

// Equal rows stay in their order; what was not measured stays at the end in either direction.
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
      const opposite = { ascending: "descending", descending: "ascending" };
      const direction = opposite[heading.getAttribute("aria-sort")] ?? heading.dataset.first ?? "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", direction);
      sortBy(table, column, direction === "ascending" ? 1 : -1);
    });
  });
}

// Show the figure and the table of the choice, and hide the others.
function makeChooser(select, draw) {
  const section = select.closest("section");
  const plot = section.querySelector("[data-figure]");
  const show = () => {
    for (const choice of section.querySelectorAll("[data-choice]")) {
      choice.hidden = choice.dataset.choice !== select.value;
      choice.open = !choice.hidden;
    }
    if (!plot) return; // a section of tables only
    section.querySelector("[data-chosen]").textContent = select.selectedOptions[0].textContent;
    if (plot.dataset.figure === select.value) return;
    plot.dataset.figure = select.value;
    draw(plot);
  };
  select.addEventListener("change", show);
  select.closest(".choose").hidden = false;
  show();
}

// Two runs: the maps of the chosen score; a click opens the head of the first run.
function startComparison(plotting) {
  const [element, select] = ["against-maps", "choose-against"].map((id) => document.getElementById(id));
  const open = (head) => {
    location.hash = new URLSearchParams({ m: select.value, h: labelOf(head) });
  };
  const compare = comparedMaps({ element, open, ...plotting });
  const names = [element.dataset.first, element.dataset.second];
  const follow = () => compare({ keys: [select.value, `against/${select.value}`], names });
  select.addEventListener("change", follow);
  element.hidden = false;
  return follow();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
unfoldTables().then(drawFigures).finally(() => document.documentElement.setAttribute("data-ready", ""));

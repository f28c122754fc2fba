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
    if (!pending.has(plot)) draw(plot);
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

// A part of the appendix is made ready when it is opened: its packed tables, its choices and its links.
const ready = new Map();

function makeReady(part, plotting) {
  if (!ready.has(part)) ready.set(part, readyPart(part, plotting));
  return ready.get(part);
}

async function readyPart(part, plotting) {
  await unfoldTables(part);
  part.querySelectorAll("table.sortable").forEach(makeSortable);
  if (!plotting) return;
  part.querySelectorAll("[id^=choose-]").forEach((select) => makeChooser(select, plotting.draw));
  const maps = part.querySelector("#against-maps");
  if (maps) await startComparison(plotting);
  linkHeads(part);
}

const parts = [...document.querySelectorAll("details.part")];
let plotting = null;

// Unfold and draw all of the page, for print.
async function everything() {
  for (const part of parts) {
    part.open = true;
    await makeReady(part, plotting);
  }
  for (const element of [...pending.keys()]) await drawNow(element);
}

async function start() {
  const plots = [...document.querySelectorAll("[data-figure]")];
  const explorer = byId("explorer");
  if (plots.length || explorer) {
    const [data] = await Promise.all([inflated(byId("data")), readNumbers()]);
    const content = JSON.parse(data);
    plotting = drawingOf(content);
    const listeners = [];
    for (const plot of plots) {
      whenNear(plot, async () => {
        plot.replaceChildren();
        await plotting.draw(plot);
        listeners.forEach((listen) => listen(plot));
      });
    }
    if (explorer) listeners.push(await startExplorer({ metrics: content.metrics, ...plotting }));
  }
  for (const part of parts) {
    part.addEventListener("toggle", () => part.open && makeReady(part, plotting));
    if (part.open) await makeReady(part, plotting);
  }
  const unfold = byId("everything");
  if (!unfold) return;
  unfold.hidden = false;
  unfold.addEventListener("click", async () => {
    await everything();
    print();
  });
}

startLanding();
start().finally(() => document.documentElement.setAttribute("data-ready", ""));

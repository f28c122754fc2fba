// Choosing a head: the address holds the choice, and everything on the page follows it.
const HEAD = /^L(\d+)H(\d+)$/;
const MOVES = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(0)} %`;

async function startExplorer({ metrics, plots, ...plotting }) {
  const { mapOf, draw } = plotting;
  const scores = Object.fromEntries(Object.keys(metrics).map((key) => [key, mapOf(key)]));
  const stored = await storedAttention();
  const { layers, heads } = Object.values(scores)[0];
  const prompts = stored?.prompts.map(({ name }) => name) ?? [];

  // The state that an address names; the first choice for everything that is missing or unknown in it.
  function stateOf(hash) {
    const parameters = new URLSearchParams(hash.slice(1));
    const known = (key) => Object.hasOwn(scores, parameters.get(key));
    const metric = known("m") ? parameters.get("m") : Object.keys(scores)[0];
    const [, layer, head] = (HEAD.exec(parameters.get("h")) ?? []).map(Number);
    const highest = [...scores[metric].rank.keys()][0] ?? 0;
    const exists = layer < layers && head < heads;
    return {
      metric,
      head: exists ? [layer, head] : headAt(highest, { heads }),
      prompt: prompts.includes(parameters.get("p")) ? parameters.get("p") : (prompts[0] ?? ""),
      comparison: known("c") ? parameters.get("c") : "",
    };
  }

  function addressOf({ metric, head, prompt, comparison }) {
    const parameters = new URLSearchParams({ m: metric, h: labelOf(head) });
    if (prompt) parameters.set("p", prompt);
    if (comparison) parameters.set("c", comparison);
    return `#${parameters}`;
  }

  const isAddress = (hash) => hash === "" || ["m", "h", "p", "c"].some((key) => new URLSearchParams(hash.slice(1)).has(key));

  let state = stateOf(isAddress(location.hash) ? location.hash : "");
  let cursor = state.head;
  const go = (change) => {
    location.hash = addressOf({ ...state, ...change });
  };

  const verdicts = JSON.parse(byId("explorer").dataset.verdicts);

  // The scores of a head with their ranks, the chosen one and the first few others; and the verdict on it.
  function headText(head) {
    const place = placeOf(head, { heads });
    const parts = Object.entries(metrics).map(([key, title]) => {
      const { texts, rank } = scores[key];
      return `${title} ${texts[place]}, rank ${rank.get(place) ?? "n/a"} of ${rank.size}`;
    });
    const chosen = Object.keys(metrics).indexOf(state.metric);
    const shown = [parts[chosen], ...parts.filter((_, index) => index !== chosen).slice(0, 3)];
    return `${labelOf(head)}: ${shown.join("; ")}. ${verdicts[labelOf(head)] ?? ""}`.trimEnd();
  }

  const picker = byId("picker");

  function mark() {
    const moved = labelOf(cursor) !== labelOf(state.head);
    return Plotly.relayout(picker, { shapes: [framed(state.head, "solid"), ...(moved ? [framed(cursor, "dot")] : [])] });
  }

  function moveTo([layer, head]) {
    cursor = [Math.min(Math.max(layer, 0), layers - 1), Math.min(Math.max(head, 0), heads - 1)];
    byId("picked").textContent = headText(cursor);
    return mark();
  }

  picker.addEventListener("keydown", (event) => {
    if (Object.hasOwn(MOVES, event.key)) moveTo(MOVES[event.key].map((step, axis) => cursor[axis] + step));
    else if (event.key === "Home" || event.key === "End") moveTo([cursor[0], event.key === "Home" ? 0 : heads - 1]);
    else if (event.key === "Enter" || event.key === " ") go({ head: cursor });
    else return;
    event.preventDefault();
  });

  const table = headTable({ metrics, scores, heads, stored, addressOf: (head) => addressOf({ ...state, head }) });
  const view = stored && headView({ stored, heads, headText });
  const compare = comparedMaps({ element: byId("compared"), open: (head) => go({ head }), ...plotting });

  async function followComparison() {
    const keys = [state.metric, state.comparison];
    byId("compared").hidden = !state.comparison;
    if (state.comparison) await compare({ keys, names: keys.map((key) => metrics[key]), head: state.head });
  }

  async function follow(next) {
    const redrawn = picker.dataset.heads !== next.metric;
    state = next;
    for (const [id, value] of [["metric", state.metric], ["comparison", state.comparison], ["prompt", state.prompt]]) {
      if (byId(id)) byId(id).value = value;
    }
    if (redrawn) {
      picker.dataset.heads = state.metric;
      await draw(picker, state.metric);
    }
    await moveTo(state.head);
    table.follow(state);
    await followComparison();
    await view?.follow(state);
  }

  byId("metric").addEventListener("change", (event) => go({ metric: event.target.value }));
  byId("comparison").addEventListener("change", (event) => go({ comparison: event.target.value }));
  byId("prompt")?.addEventListener("change", (event) => go({ prompt: event.target.value }));
  addEventListener("hashchange", async () => {
    if (!isAddress(location.hash)) return; // a link to a section
    await follow(stateOf(location.hash));
    showHead();
  });

  // A link to a head changes nothing else of the state. In a notebook's frame it would open the notebook.
  document.addEventListener("click", (event) => {
    const address = event.target.closest?.("a[href^='#']")?.getAttribute("href");
    if (!address || !isAddress(address) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go({ head: stateOf(address).head });
  });

  // A head that is opened from elsewhere on the page is scrolled into view.
  function showHead() {
    const { top, bottom } = (byId("head") ?? byId("attention")).getBoundingClientRect();
    if (bottom < 100 || top > innerHeight - 100) (byId("head") ?? byId("attention")).scrollIntoView();
  }

  byId("explorer").hidden = false;
  await follow(state);
  for (const plot of [picker, ...plots]) {
    plot.on("plotly_click", ({ points: [point] }) => {
      const name = plot === picker ? state.metric : plot.dataset.figure;
      if (Object.hasOwn(scores, name)) go({ metric: name, head: [point.y, point.x] });
    });
  }
  if (location.hash && isAddress(location.hash)) showHead();
  makeDownloads({ metrics, scores, heads, shown: () => view?.shown() });
}

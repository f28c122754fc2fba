// Choosing a head: the address holds the choice, and everything on the page follows it.
const HEAD = /^L(\d+)H(\d+)$/;
const MOVES = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const FRAMED = 60; // chosen heads that the map frames
const percent = (share) => `${(100 * share).toFixed(0)} %`;

// The task and the step of the slider that takes heads out: `piqa.0shot_3`.
function removalOf(text) {
  const match = /^(.+)_(\d+)$/.exec(text ?? "");
  return match && { task: match[1], step: Number(match[2]) };
}

// Start everything that follows the open head; return a function that listens to the clicks on a map.
async function startExplorer({ metrics, ...plotting }) {
  const { mapOf, draw } = plotting;
  const scores = Object.fromEntries(Object.keys(metrics).map((key) => [key, mapOf(key)]));
  const stored = await storedAttention();
  const facts = JSON.parse(await inflated(byId("head-data")));
  const { layers, heads } = Object.values(scores)[0];
  shape = { layers, heads };
  const prompts = stored?.prompts.map(({ name }) => name) ?? [];
  const opening = prompts.includes(facts.prompt) ? facts.prompt : (prompts[0] ?? "");

  // The state that an address names; the first choice for everything that is missing or unknown in it.
  function stateOf(hash) {
    const parameters = new URLSearchParams(hash.slice(1));
    const known = (key) => Object.hasOwn(scores, parameters.get(key));
    const metric = known("m") ? parameters.get("m") : Object.keys(scores)[0];
    const [, layer, head] = (HEAD.exec(parameters.get("h")) ?? []).map(Number);
    const highest = [...scores[metric].rank.keys()][0] ?? 0;
    const query = parameters.has("q") ? Number(parameters.get("q")) : null;
    return {
      metric,
      head: [[layer, head], headOf(parameters.get("head") ?? "")].find((named) => named && exists(named)) ?? headAt(highest, { heads }),
      prompt: prompts.includes(parameters.get("p")) ? parameters.get("p") : opening,
      comparison: known("c") ? parameters.get("c") : "",
      query: Number.isInteger(query) && query >= 0 ? query : null,
      hidden: parameters.get("s") === "hidden",
      brush: brushOf(parameters.get("b")),
      removal: removalOf(parameters.get("r")),
      notes: notesOf(parameters.get("n")),
    };
  }

  function addressOf({ metric, head, prompt, comparison, query, hidden, brush, removal, notes }) {
    const parameters = new URLSearchParams({ m: metric, h: labelOf(head) });
    if (prompt) parameters.set("p", prompt);
    if (comparison) parameters.set("c", comparison);
    if (query !== null) parameters.set("q", query);
    if (hidden) parameters.set("s", "hidden");
    if (brush) parameters.set("b", brush.join("_"));
    if (removal) parameters.set("r", `${removal.task}_${removal.step}`);
    if (Object.keys(notes).length) parameters.set("n", JSON.stringify(notes));
    return `#${parameters}`;
  }

  const KEYS = ["m", "h", "p", "c", "q", "s", "b", "r", "n", "head"];
  const isAddress = (hash) => hash === "" || KEYS.some((key) => new URLSearchParams(hash.slice(1)).has(key));

  let state = stateOf(isAddress(location.hash) ? location.hash : "");
  let cursor = state.head;
  const go = (change) => {
    const query = change.head || change.prompt ? null : state.query;
    const address = addressOf({ ...state, query, ...change });
    if (address === location.hash) showHead();
    location.hash = address;
  };

  // Change the state in place: the address follows without a step back, and the page does not move.
  async function stay(change) {
    const next = { ...state, ...change };
    try {
      history.replaceState(null, "", addressOf(next));
    } catch {
      // a notebook's frame has no address
    }
    await follow(next);
  }

  // The scores of a head with their ranks: the chosen one and the first few others.
  function headText(head) {
    const place = placeOf(head, { heads });
    const parts = Object.entries(metrics).map(([key, title]) => {
      const { texts, rank } = scores[key];
      return `${title} ${texts[place]}, rank ${rank.get(place) ?? "n/a"} of ${rank.size}`;
    });
    const chosen = Object.keys(metrics).indexOf(state.metric);
    const shown = [parts[chosen], ...parts.filter((_, index) => index !== chosen).slice(0, 3)];
    return `${labelOf(head)}: ${shown.join("; ")}.`;
  }

  const picker = byId("picker");

  function mark() {
    if (pending.has(picker)) return null;
    const moved = labelOf(cursor) !== labelOf(state.head);
    const chosen = [...(scatter.chosen() ?? [])].slice(0, FRAMED).map((place) => ({ ...framed(headAt(place, { heads }), "solid"), line: { color: "#808891", width: 1 } }));
    return Plotly.relayout(picker, { shapes: [...chosen, framed(state.head, "solid"), ...(moved ? [framed(cursor, "dot")] : [])] });
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

  const scatter = startScatter({ heads, headText, open: (head) => go({ head }), brushed: (brush) => stay({ brush }) });
  const removal = startRemoval({ scores, heads, open: (head) => go({ head }), changed: (change) => stay({ removal: change }), gone: (removed) => scatter.gone?.(removed) });
  const notes = startNotes({ changed: (written) => stay({ notes: written }) });
  const facing = headPage({ facts, metrics, scores, heads });
  const table = headTable({ metrics, scores, heads, stored, chosen: scatter.chosen, addressOf: (head) => addressOf({ ...state, query: null, head }) });
  const view = stored && headView({ stored, heads, headText, stay });
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
    picker.dataset.heads = state.metric;
    for (const part of [scatter, removal, notes, facing]) part.follow(state);
    if (redrawn && !pending.has(picker)) await draw(picker, state.metric);
    await moveTo(state.head);
    table.follow(state);
    await followComparison();
    await view?.follow(state);
  }

  byId("metric").addEventListener("change", (event) => go({ metric: event.target.value }));
  byId("comparison").addEventListener("change", (event) => go({ comparison: event.target.value }));
  byId("prompt")?.addEventListener("change", (event) => go({ prompt: event.target.value }));
  addEventListener("hashchange", async () => {
    if (!isAddress(location.hash) || (location.hash === "" && byId("summary"))) return; // a link to a section
    const before = labelOf(state.head);
    const next = stateOf(location.hash);
    if (before !== labelOf(next.head)) showHead();
    await follow(next);
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
    const page = byId("head") ?? byId("attention");
    const { top, bottom } = page.getBoundingClientRect();
    if (bottom < 200 || top > innerHeight - 300 || top < 0) land(page);
  }

  const listen = (plot) =>
    plot.on("plotly_click", ({ points: [point] }) => {
      const name = plot === picker ? state.metric : plot.dataset.figure;
      if (Object.hasOwn(scores, name)) go({ metric: name, head: [point.y, point.x] });
    });

  whenNear(picker, async () => {
    await draw(picker, state.metric);
    listen(picker);
    await mark();
  });
  byId("explorer").hidden = false;
  startFinding((head) => go({ head }));
  document.querySelectorAll("main > section:not(#appendix)").forEach(linkHeads);
  await follow(state);
  if (location.hash && isAddress(location.hash)) showHead();
  makeDownloads({ metrics, scores, heads, shown: () => view?.shown(), notes: () => state.notes });
  return listen;
}

// The attention of the open head: circuitsvis' matrix, the prompt token by token, and every weight as a table.
const BLUE = "#0b62a8";
const NAMED = 4; // strongest tokens that are named

function headView({ stored, heads, headText, stay }) {
  let [state, prompt, pattern, chosen, opened] = [null, null, null, 0, ""];
  const layerHeads = byId("layer-heads");
  const outgoing = () => document.querySelector("input[name=direction]:checked").value === "out";
  const quoted = (index) => `“${prompt.tokens[index]}” (${index})`;

  // The rows as they are shown: without the attention on position 0 where a person hides it.
  const rows = () => (state.hidden ? pattern.rows.map((row) => [0, ...row.slice(1)]) : pattern.rows);

  // The weights from a token to its keys, or from its queries to it.
  const weightsOf = (token) => (outgoing() ? rows()[token] : rows().map((row) => row[token]));

  // The query with the most attention off position 0, the last of equal ones.
  function openingQuery() {
    const off = pattern.rows.map((row, query) => (query === 0 ? 0 : 1 - row[0]));
    return off.lastIndexOf(Math.max(...off));
  }

  function scale() {
    const outsideSink = pattern.rows.slice(1).flatMap((row) => row.slice(1));
    return Math.max(0.05, ...outsideSink);
  }

  async function drawMatrix() {
    const largest = scale();
    await drawCircuitsvis(byId("matrix"), "AttentionPattern", {
      tokens: prompt.tokens,
      attention: rows(),
      minValue: -1,
      maxValue: largest,
      positiveColor: BLUE,
      zoomed: true,
    });
    byId("matrix-text").textContent = `Queries down, keys across. The full colour is a weight of ${largest.toFixed(2)}, the highest outside position 0. No token attends to later ones (grey).`;
  }

  function writeHead() {
    const place = placeOf(state.head, { heads });
    byId("head-title").textContent = `${labelOf(state.head)} on ${prompt.title}`;
    const sink = `On this prompt ${percent(prompt.sink[place] / 255)} of its attention is on position 0, without the first query.`;
    byId("head-text").textContent = `${headText(state.head)} ${sink} ${storedText()}`;
  }

  function storedText() {
    if (!pattern) return "This page leaves out what it attends to, to stay small.";
    const what = pattern.whole ? "The whole pattern is here" : `Only the ${stored.keys} strongest keys of each row are here`;
    return `${what}: ${(100 * storedShare(pattern.rows)).toFixed(1)} % of its attention.`;
  }

  function drawTokens() {
    const tokens = prompt.tokens.map((token, index) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: token });
      button.setAttribute("aria-label", `${index}: ${token}`);
      for (const event of ["mouseenter", "focus"]) button.addEventListener(event, () => choose(index));
      button.addEventListener("click", () => stay({ query: index }));
      return button;
    });
    byId("tokens").replaceChildren(...tokens);
  }

  function choose(token) {
    chosen = token;
    const weights = weightsOf(token);
    [...byId("tokens").children].forEach((button, index) => {
      const strength = 30 * weights[index]; // of 1, so that the colours of different tokens can be compared
      button.style.background = `color-mix(in srgb, var(--accent) ${strength.toFixed(1)}%, transparent)`;
      button.setAttribute("aria-pressed", String(index === token));
    });
    byId("token-text").textContent = tokenText(token, weights);
  }

  function tokenText(token, weights) {
    const positions = weights.map((_, index) => index).filter((index) => weights[index] > 0 && (index > 0 || !outgoing()));
    positions.sort((a, b) => weights[b] - weights[a]);
    const listed = positions.slice(0, NAMED).map((index) => `${quoted(index)} ${weights[index].toFixed(3)}`);
    const sink = outgoing() ? ` On position 0: ${pattern.rows[token][0].toFixed(3)}.` : "";
    const verb = outgoing() ? "attends to" : "is attended to by";
    return `${quoted(token)} ${verb} ${listed.join(", ") || "nothing else"}.${sink}`;
  }

  function cell(kind, text, scope) {
    const element = Object.assign(document.createElement(kind), { textContent: text });
    if (scope) element.scope = scope;
    return element;
  }

  // Filled when it is opened: it has a cell for every pair of tokens.
  function fillWeights() {
    if (!byId("weights").open || !pattern) return;
    const table = document.createElement("table");
    table.className = "matrix";
    table.createCaption().textContent = `${labelOf(state.head)}: queries down, keys across`;
    const top = table.createTHead().insertRow();
    top.append(document.createElement("td"), ...prompt.tokens.map((token, index) => cell("th", `${index} ${token}`, "col")));
    const body = table.createTBody();
    pattern.rows.forEach((row, query) => {
      const cells = row.slice(0, query + 1).map((weight) => cell("td", weight.toFixed(3)));
      body.insertRow().append(cell("th", `${query} ${prompt.tokens[query]}`, "row"), ...cells);
    });
    byId("weights").querySelector(".scroll").replaceChildren(table);
  }

  function writeStored() {
    const count = (level) => stored.levels.filter((detail) => detail === level).length;
    const [whole, strongest, none] = [WHOLE, STRONGEST, NONE].map(count);
    const parts = [`whole patterns of ${whole} heads`];
    if (strongest) parts.push(`the ${stored.keys} strongest keys of each row for ${strongest}`);
    if (none) parts.push(`nothing for ${none}`);
    const cut = stored.prompts.filter(({ left_out: left }) => left).map(({ title, left_out: left }) => `${title} goes on for ${left} more tokens`);
    byId("kept").textContent = `In this page: ${parts.join(", ")}, to within 0.002. ${cut.join("; ")}`;
  }

  for (const input of document.querySelectorAll("input[name=direction]")) input.addEventListener("change", () => choose(chosen));
  byId("weights").addEventListener("toggle", fillWeights);
  byId("hide-first").addEventListener("change", ({ target }) => stay({ hidden: target.checked }));
  writeStored();

  return {
    shown: () => pattern && { label: labelOf(state.head), tokens: prompt.tokens, rows: pattern.rows, largest: scale() },
    async follow(next) {
      state = next;
      const index = stored.prompts.findIndex(({ name }) => name === state.prompt);
      const [nextPrompt, nextPattern] = [stored.prompts[index], await patternOf(stored, index, ...state.head)];
      if (state !== next) return; // another head was opened meanwhile
      [prompt, pattern] = [nextPrompt, nextPattern];
      byId("hide-first").checked = state.hidden;
      writeHead();
      document.querySelector("#head .attended").hidden = !pattern;
      if (!pattern) return;
      const shown = `${labelOf(state.head)} ${index} ${state.hidden}`;
      if (opened !== shown) drawTokens();
      choose(Math.min(state.query ?? openingQuery(), prompt.tokens.length - 1));
      if (opened === shown) return;
      opened = shown;
      fillWeights();
      whenNear(byId("matrix"), drawMatrix);
      whenNear(layerHeads, () => drawLayerHeads({ element: layerHeads, stored, prompt: index, head: state.head, hidden: state.hidden }));
    },
  };
}

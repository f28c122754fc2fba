// The slider that takes heads out, least important first: on the map, in the first picture, and as Python.
function startRemoval({ scores, heads, open, changed, gone }) {
  const element = byId("slider");
  if (!element) return { follow: () => {} };
  const tasks = JSON.parse(byId("slider-data").textContent).filter(({ name }) => Object.hasOwn(scores, `heads/${name}`));
  if (!tasks.length) return { follow: () => {} };
  const [select, range, map] = ["slider-task", "slider-share", "slider-map"].map(byId);
  const cell = Math.max(4, Math.min(14, Math.floor(300 / heads)));
  let shown = "";

  // As HeadScores.ranking: the lowest first, ties in the order of the heads, heads without a score last.
  function ranking({ values }) {
    return [...values.keys()].sort((a, b) => (Number.isNaN(values[a]) - Number.isNaN(values[b])) || values[a] - values[b] || a - b);
  }

  function drawMap(order, count, layers) {
    const removed = new Set(order.slice(0, count));
    const cells = order.map((place, rank) => {
      const [layer, head] = headAt(place, { heads });
      const look = removed.has(place) ? 'class="gone"' : `fill-opacity="${(0.25 + (0.75 * rank) / order.length).toFixed(2)}"`;
      return `<rect data-p="${place}" ${look} x="${head * cell}" y="${(layers - 1 - layer) * cell}" width="${cell - 1}" height="${cell - 1}"><title>${labelOf([layer, head])}</title></rect>`;
    });
    const [width, height] = [heads * cell, layers * cell];
    map.innerHTML = `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Map of heads: ${count} of ${order.length} are out">${cells.join("")}</svg>`; // numbers alone
    return removed;
  }

  function write(task, step, removed) {
    const [share, accuracy] = [task.percents[step], task.accuracy[step]];
    byId("slider-text").textContent = `${share} % of the heads out, ${removed.size} of ${Object.values(scores)[0].values.length}: accuracy on ${task.title} is ${accuracy}; before ${task.accuracy[0]}, chance ${task.guess}.`;
    const pairs = [...removed].sort((a, b) => a - b).map((place) => `(${headAt(place, { heads }).join(", ")})`);
    byId("slider-code").textContent = `import headcount as hc\n\nmodel = hc.load_model()  # the model of this run\nwith hc.masked(model, heads=[${pairs.join(", ")}]):\n    logits = model(tokens)`;
  }

  const change = () => changed({ task: tasks[Number(select.value)].name, step: Number(range.value) });
  select.replaceChildren(...tasks.map(({ title }, index) => new Option(title, index)));
  select.addEventListener("change", change);
  range.addEventListener("input", change);
  map.addEventListener("click", (event) => {
    const place = event.target.closest("rect")?.dataset.p;
    if (place) open(headAt(Number(place), { heads }));
  });
  byId("slider-copy").addEventListener("click", async () => {
    const code = byId("slider-code");
    getSelection().selectAllChildren(code);
    await navigator.clipboard?.writeText(code.textContent).catch(() => document.execCommand("copy"));
    byId("slider-copy").textContent = "Copied";
  });
  element.hidden = false;

  return {
    follow({ removal }) {
      const index = Math.max(0, tasks.findIndex(({ name }) => name === removal?.task));
      const task = tasks[index];
      const step = Math.min(removal?.step ?? 0, task.percents.length - 1);
      if (shown === `${index} ${step}`) return;
      shown = `${index} ${step}`;
      range.max = task.percents.length - 1;
      [select.value, range.value] = [index, step];
      range.setAttribute("aria-valuetext", `${task.percents[step]} %`);
      const map = scores[`heads/${task.name}`];
      const removed = drawMap(ranking(map), task.removed[step], map.layers);
      byId("slider-copy").textContent = "Copy";
      write(task, step, removed);
      gone(removed);
    },
  };
}

// The table of all heads: sorted by any column, of one layer or of all.
const ROWS = 12; // before a person asks for more
const MANY = 200; // more would make the page slow; one layer has fewer

function headTable({ metrics, scores, heads, stored, chosen, addressOf }) {
  const table = byId("all-heads");
  const layers = Object.values(scores)[0].layers;
  const all = Array.from({ length: layers * heads }, (_, place) => place);
  let [state, columns, sorted, limit] = [null, [], null, ROWS];
  byId("layer").append(...Array.from({ length: layers }, (_, layer) => new Option(`layer ${layer}`, layer)));

  const column = (title, values, texts) => ({ title, values, texts });

  // The chosen score with its rank, the first two others, and the share of attention on position 0.
  function columnsOf({ metric, prompt }) {
    const others = Object.keys(metrics).filter((key) => key !== metric).slice(0, 2);
    const ranked = all.map((place) => scores[metric].rank.get(place) ?? NaN);
    const list = [
      column("head", all, all.map((place) => labelOf(headAt(place, { heads })))),
      ...[metric, ...others].map((key) => column(metrics[key], scores[key].values, scores[key].texts)),
    ];
    list.splice(2, 0, column("rank", ranked, ranked.map((rank) => (Number.isNaN(rank) ? "n/a" : String(rank)))));
    const recorded = stored?.prompts.find(({ name }) => name === prompt);
    if (recorded) {
      const shares = [...recorded.sink].map((level) => level / 255);
      list.push(column("on position 0", shares, shares.map(percent)));
    }
    return list;
  }

  // Equal values stay in the order of the heads; heads that were not measured stay at the end in either direction.
  function ordered(places) {
    const { values } = columns.find(({ title }) => title === sorted.title) ?? columns[2];
    const known = places.filter((place) => !Number.isNaN(values[place]));
    known.sort((a, b) => sorted.direction * (values[a] - values[b]));
    return [...known, ...places.filter((place) => Number.isNaN(values[place]))];
  }

  function heading({ title }) {
    const cell = Object.assign(document.createElement("th"), { scope: "col" });
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: title });
    cell.append(button);
    if (title === sorted.title) cell.setAttribute("aria-sort", sorted.direction > 0 ? "ascending" : "descending");
    button.addEventListener("click", () => {
      const first = title === "head" || title === "rank" ? 1 : -1;
      sorted = { title, direction: sorted.title === title ? -sorted.direction : first };
      fill();
      [...table.querySelectorAll("th button")].find((other) => other.textContent === title).focus();
    });
    return cell;
  }

  function rowOf(place) {
    const head = headAt(place, { heads });
    const row = document.createElement("tr");
    const first = Object.assign(document.createElement("th"), { scope: "row" });
    first.append(Object.assign(document.createElement("a"), { href: addressOf(head), textContent: labelOf(head) }));
    row.append(first);
    for (const { texts } of columns.slice(1)) {
      row.append(Object.assign(document.createElement("td"), { textContent: texts[place] }));
    }
    if (labelOf(head) === labelOf(state.head)) row.setAttribute("aria-current", "true");
    return row;
  }

  function fill() {
    const layer = byId("layer").value;
    const inside = chosen() ?? new Set(all);
    const places = ordered(all.filter((place) => inside.has(place) && (layer === "" || Math.floor(place / heads) === Number(layer))));
    const rows = places.slice(0, layer === "" ? limit : MANY);
    const more = places.length > rows.length ? `; the first ${rows.length}${limit === MANY ? ", choose a layer for the rest" : ""}` : "";
    byId("more-heads").hidden = places.length <= rows.length || limit === MANY;
    const which = `${chosen() ? " chosen in the picture" : ""}${layer === "" ? "" : ` of layer ${layer}`}`;
    table.caption.textContent = `${places.length} heads${which}${more}`;
    const top = document.createElement("tr");
    top.append(...columns.map(heading));
    table.tHead.replaceChildren(top);
    table.tBodies[0].replaceChildren(...rows.map(rowOf));
  }

  byId("layer").addEventListener("change", fill);
  byId("more-heads").addEventListener("click", () => {
    limit = MANY;
    fill();
  });

  return {
    follow(next) {
      if (sorted === null || state.metric !== next.metric) sorted = { title: "rank", direction: 1 };
      state = next;
      columns = columnsOf(state);
      fill();
    },
  };
}

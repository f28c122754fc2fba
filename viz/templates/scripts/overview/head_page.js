// What the page of a head shows besides its attention: labels, verdicts, attention on text by kind, similar heads.
const NEIGHBOURS = 5;

// The heads whose ranks are most alike in all scores on random tokens and in the first map of importance.
function neighbours(head, { metrics, scores, heads }) {
  const plain = Object.keys(metrics).filter((key) => !key.includes("/"));
  const importance = Object.keys(metrics).find((key) => key.includes("/"));
  const compared = [...plain, ...(importance ? [importance] : [])].map((key) => scores[key]);
  const rankOf = ({ rank }, place) => (rank.get(place) ?? rank.size) / Math.max(1, rank.size);
  const own = placeOf(head, { heads });
  const distance = (place) => compared.reduce((sum, score) => sum + (rankOf(score, place) - rankOf(score, own)) ** 2, 0);
  const places = [...scores[Object.keys(scores)[0]].values.keys()].filter((place) => place !== own);
  return places.map((place) => [distance(place), place]).sort(([a, p], [b, q]) => a - b || p - q).slice(0, NEIGHBOURS).map(([, place]) => place);
}

function headPage({ facts, metrics, scores, heads }) {
  const lines = ["head-labels", "head-verdict", "head-shares", "head-neighbours"].map(byId);
  if (lines.some((line) => !line)) return { follow: () => {} };
  const [labels, verdict, shares, similar] = lines;
  const labelsOf = (place) => Object.entries(facts.labels).filter(([, places]) => places.includes(place)).map(([label]) => label);

  function sharesText(place) {
    const parts = Object.entries(facts.kinds).filter(([kind]) => facts.shares[kind]);
    if (!parts.length) return "";
    return `Mean attention on the prompt that opens first: ${parts.map(([kind, title]) => `${title} ${(facts.shares[kind][place] / 255).toFixed(2)}`).join(", ")}.`;
  }

  return {
    labelsOf,
    follow({ head }) {
      byId("head-title").textContent = labelOf(head); // what it attends to adds the prompt
      const place = placeOf(head, { heads });
      const given = labelsOf(place);
      labels.replaceChildren("Labels: ", ...(given.length ? given.flatMap((label, index) => [index ? ", " : "", Object.assign(document.createElement("b"), { textContent: label })]) : ["none"]), ". A label means more than half of the attention.");
      verdict.textContent = facts.verdicts[labelOf(head)] ?? "Verdict: not tested by removal.";
      shares.textContent = sharesText(place);
      const links = neighbours(head, { metrics, scores, heads }).map((other) => headLink(labelOf(headAt(other, { heads }))));
      similar.replaceChildren("Heads with similar scores: ", ...links.flatMap((link, index) => (index ? [", ", link] : [link])), ".");
    },
  };
}

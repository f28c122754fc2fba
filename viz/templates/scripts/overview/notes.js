// Labels and notes that a person writes on heads: they are in the address, and in the exported JSON.
const LONGEST_NOTE = 300; // characters

function notesOf(text) {
  try {
    const entries = Object.entries(JSON.parse(text ?? "{}")).filter(([label]) => HEAD.test(label));
    return Object.fromEntries(entries.map(([label, parts]) => [label, [0, 1].map((index) => String(parts[index] ?? "").slice(0, LONGEST_NOTE))]));
  } catch {
    return {}; // an address may hold anything
  }
}

function startNotes({ changed }) {
  const fields = ["own-label", "own-note"].map(byId);
  if (!fields[0]) return { follow: () => {} };
  let [label, notes] = ["", {}];
  for (const field of fields) {
    field.maxLength = LONGEST_NOTE;
    field.addEventListener("change", () => {
      const parts = fields.map(({ value }) => value.trim());
      const { [label]: _, ...others } = notes;
      changed(parts.some(Boolean) ? { ...others, [label]: parts } : others);
    });
  }
  return {
    follow(state) {
      [label, notes] = [labelOf(state.head), state.notes];
      fields.forEach((field, index) => { field.value = notes[label]?.[index] ?? ""; });
      const listed = Object.entries(notes).map(([name, parts]) => [headLink(name), ` ${parts.filter(Boolean).join(": ")}`]);
      byId("own-notes").replaceChildren(...listed.flatMap((parts, index) => (index ? ["; ", ...parts] : ["Labelled: ", ...parts])));
    },
  };
}

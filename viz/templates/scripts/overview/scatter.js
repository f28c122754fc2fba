// The first picture: a click opens a head, a drag chooses all heads in a rectangle, which the rest of the page follows.
const NEAR = 12; // pixels from a dot in which a click is on it
const LISTED = 12; // chosen heads that the text names

// A rectangle in percent of the picture's sides, as the address holds it: left, right, upper and lower side.
function brushOf(text) {
  const sides = (text ?? "").split("_").map(Number);
  return sides.length === 4 && sides.every((side) => side >= 0 && side <= 100) ? sides : null;
}

function startScatter({ heads, headText, open, brushed }) {
  const figure = byId("scatter");
  if (!figure) return { follow: () => {}, chosen: () => null };
  const [svg, text] = [figure.querySelector("svg"), byId("dot-text")];
  const all = [...svg.querySelectorAll("circle")]; // in the order of the heads
  const [brush, dots] = [svg.querySelector(".brush"), all.filter((dot) => !dot.matches(".missing"))];
  const places = new Map(all.map((dot, place) => [dot, place]));
  const centre = (dot) => [dot.cx, dot.cy].map(({ baseVal }) => baseVal.valueInSpecifiedUnits);
  let [start, chosen] = [null, null];

  function nearest(event) {
    const { left, top, width, height } = svg.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    const distances = dots.map((dot) => Math.hypot(centre(dot)[0] * width / 100 - x, centre(dot)[1] * height / 100 - y));
    const best = distances.indexOf(Math.min(...distances));
    return distances[best] <= NEAR ? headAt(places.get(dots[best]), { heads }) : null;
  }

  function placeAt(event) {
    const { left, top, width, height } = svg.getBoundingClientRect();
    const share = (value) => Math.min(100, Math.max(0, 100 * value));
    return [share((event.clientX - left) / width), share((event.clientY - top) / height)];
  }

  const between = ([x0, y0], [x1, y1]) => [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)].map((side) => Number(side.toFixed(1)));

  function showBrush(sides) {
    brush.toggleAttribute("hidden", !sides);
    if (!sides) return;
    const [left, right, top, bottom] = sides;
    Object.entries({ x: left, y: top, width: right - left, height: bottom - top }).forEach(([name, value]) => brush.setAttribute(name, `${value}%`));
  }

  svg.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "touch" && !event.target.closest("a")) start = placeAt(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (start && Math.hypot(...placeAt(event).map((side, axis) => side - start[axis])) > 1.5) {
      svg.setPointerCapture(event.pointerId);
      showBrush(between(start, placeAt(event)));
    } else if (!start) {
      const head = nearest(event);
      svg.style.cursor = head ? "pointer" : "crosshair";
      if (head) text.textContent = headText(head);
    }
  });
  svg.addEventListener("pointerup", (event) => {
    const sides = start && between(start, placeAt(event));
    const dragged = sides && (sides[1] - sides[0] > 1.5 || sides[3] - sides[2] > 1.5);
    start = null;
    if (dragged) brushed(sides);
    else if (!event.target.closest("a")) {
      const head = nearest(event);
      if (head) open(head);
      else brushed(null);
    }
  });

  function choose(sides) {
    const inside = (dot) => {
      const [x, y] = centre(dot);
      return x >= sides[0] && x <= sides[1] && y >= sides[2] && y <= sides[3];
    };
    chosen = sides && new Set(dots.filter(inside).map((dot) => places.get(dot)));
    dots.forEach((dot) => dot.classList.toggle("outside", chosen !== null && !chosen.has(places.get(dot))));
    showBrush(sides);
    if (!chosen) return;
    const names = [...chosen].slice(0, LISTED).map((place) => labelOf(headAt(place, { heads })));
    const links = names.flatMap((name, index) => (index ? [", ", headLink(name)] : [headLink(name)]));
    const clear = Object.assign(document.createElement("button"), { type: "button", textContent: "Clear" });
    clear.addEventListener("click", () => brushed(null));
    const more = chosen.size > names.length ? ` and ${chosen.size - names.length} more` : "";
    text.replaceChildren(`${chosen.size} heads chosen: `, ...links, `${more}; the map and the table of heads show these. `, clear);
  }

  const button = figure.querySelector("[data-svg]");
  button.hidden = false;
  button.addEventListener("click", () => save("headcount-heads.svg", svgOf(svg), "image/svg+xml"));

  return {
    chosen: () => chosen,
    follow({ head, brush: sides }) {
      if (String(sides) !== String(figure.sides)) {
        if (figure.sides && !sides) text.textContent = "";
        figure.sides = sides;
        choose(sides);
      }
      dots.forEach((dot) => dot.classList.remove("open"));
      all[placeOf(head, { heads })]?.classList.add("open");
    },
    gone: (removed) => dots.forEach((dot) => dot.classList.toggle("gone", removed.has(places.get(dot)))),
  };
}

// The picture as a file of its own: sizes in pixels, colours as they are seen.
function svgOf(svg) {
  const copy = svg.cloneNode(true);
  const { width, height } = svg.getBoundingClientRect();
  const [originals, copies] = [svg, copy].map((root) => [...root.querySelectorAll("*")]);
  originals.forEach((element, index) => {
    const style = getComputedStyle(element);
    for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family", "r"]) copies[index].setAttribute(name, style.getPropertyValue(name));
  });
  copy.querySelectorAll(".brush[hidden]").forEach((element) => element.remove());
  copy.querySelectorAll("a").forEach((link) => link.replaceWith(...link.childNodes));
  const sides = { xmlns: "http://www.w3.org/2000/svg", viewBox: `-56 -8 ${width + 64} ${height + 40}`, width, height };
  Object.entries(sides).forEach(([name, value]) => copy.setAttribute(name, value));
  for (const element of copies) {
    for (const name of ["x", "x1", "x2", "cx", "width", "y", "y1", "y2", "cy", "height"]) {
      const value = element.getAttribute(name);
      if (value?.endsWith("%")) element.setAttribute(name, ((Number.parseFloat(value) / 100) * (/^x|^cx|width/.test(name) ? width : height)).toFixed(2));
    }
  }
  return new XMLSerializer().serializeToString(copy);
}

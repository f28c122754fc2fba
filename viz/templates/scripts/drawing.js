// Figures, each drawn when it comes near the window: plotly is inflated with the first of them.
const pending = new Map();

const watcher = new IntersectionObserver(
  (entries) => entries.filter(({ isIntersecting }) => isIntersecting).forEach(({ target }) => drawNow(target)),
  { rootMargin: "200px" },
);

// Call an action once, when an element comes near the window, or `drawNow` is called on it.
function whenNear(element, action) {
  pending.set(element, action);
  watcher.observe(element);
}

async function drawNow(element) {
  const action = pending.get(element);
  pending.delete(element);
  watcher.unobserve(element);
  await action?.();
}

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

const dark = matchMedia("(prefers-color-scheme: dark)");
const scheme = () => (dark.matches && !matchMedia("print").matches ? "dark" : "light");

// A figure that is wider than its place takes the width there is.
function fitted(plot, layout) {
  const room = (plot.closest(".scroll") ?? plot.parentElement).clientWidth;
  return room > 0 && layout.width > room ? { ...layout, width: room } : layout;
}

// After the window changed, figures take the width there is, at most their own.
async function refit(layoutWidths) {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    const { width } = fitted(plot, { width: layoutWidths.get(plot) });
    if (!width || width === plot.layout.width) continue;
    plot.style.width = `${width}px`;
    await Plotly.relayout(plot, { width });
  }
}

function drawingOf({ figures, layouts, templates }) {
  const widths = new WeakMap();
  let resized = 0;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => refit(widths), 100);
  });
  const show = async (plot, traces, layout) => {
    await loaded("plotly");
    widths.set(plot, layout.width);
    const fits = fitted(plot, layout);
    plot.style.width = `${fits.width}px`;
    plot.style.height = `${fits.height}px`;
    return Plotly.react(plot, traces, { ...fits, template: templates[scheme()] }, figureConfig());
  };
  const layoutOf = (name) => layouts[figures[name].layout];
  const recolour = (name) =>
    document.querySelectorAll(".js-plotly-plot").forEach((plot) => Plotly.relayout(plot, { template: templates[name] }));
  dark.addEventListener("change", () => recolour(scheme()));
  // Paper is white, whatever the screen is.
  addEventListener("beforeprint", () => recolour("light"));
  addEventListener("afterprint", () => recolour(scheme()));
  return {
    show,
    layoutOf,
    mapOf: (name) => scoresOf(figures[name].data.find((trace) => trace.meta).meta),
    draw: (plot, name = plot.dataset.figure, scale = {}) =>
      show(plot, figures[name].data.map((trace) => unfolded(trace, scale)), layoutOf(name)),
  };
}

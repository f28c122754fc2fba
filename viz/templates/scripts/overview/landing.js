// A link lands where it should: parts above may be drawn after the jump, so the target is held until a person moves.
const HELD = 5000; // milliseconds
let release = () => {};

function land(target) {
  release();
  for (let folded = target.closest("details:not([open])"); folded; folded = folded.parentElement.closest("details:not([open])")) folded.open = true;
  const hold = () => target.scrollIntoView({ behavior: "instant", block: "start" });
  const observer = new ResizeObserver(hold);
  const timer = setTimeout(() => release(), HELD);
  release = () => {
    observer.disconnect();
    clearTimeout(timer);
    release = () => {};
  };
  hold();
  observer.observe(document.body);
}

function sectionOf(hash) {
  const name = decodeURIComponent(hash.slice(1));
  return /^[\w-]+$/.test(name) ? document.getElementById(name) : null;
}

function startLanding() {
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    addEventListener(kind, () => release(), { passive: true, capture: true });
  }
  const follow = () => {
    const target = sectionOf(location.hash);
    if (target) land(target);
  };
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const address = event.target.closest?.("a[href^='#']")?.getAttribute("href");
    if (address && address === location.hash) follow(); // no change of the address, which would be followed
  });
  follow();
}

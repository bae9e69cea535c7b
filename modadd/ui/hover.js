// One rule under the mouse through all charts over time on the page, with the values of every curve there; a click on
// a curve moves the player to that step.
//
// A chart takes part if its curves are line marks over a column `step`; their names and values are read from the columns
// `curve` (or the only column of words) and `value` (or the only other number).

if (!window.modaddHover) {
  window.modaddHover = true;
  const MOST = 6; // values that a chart names at once
  const AGAIN = 1000; // milliseconds for which the charts that were found are taken to be all
  const charts = new Map(); // box: view
  const shown = new Map(); // box: [rule, words]
  let looked = 0;
  let next = null;

  function look(now) {
    if (now - looked < AGAIN) return;
    looked = now;
    const call = new CustomEvent("film");
    Object.defineProperty(call, "vega", {
      set(vega) {
        const view = vega.view();
        const box = view.container()?.closest("[class*=st-key-chart-]");
        if (box) charts.set(box, view);
      },
    });
    window.dispatchEvent(call);
    for (const box of charts.keys()) if (!box.isConnected) charts.delete(box);
  }

  // The curves over time of a chart: {name, colour, points: [{x, step, value}]}, with the plot they stand in.
  function curvesOf(view) {
    const found = [];
    const walk = (node, left, top, plot) => {
      if (node.marktype === "line") {
        const points = node.items.filter((item) => item.datum && typeof item.datum.step === "number" && item.defined !== false);
        if (points.length > 1 && points.at(-1).x > points[0].x) {
          const { datum, stroke } = points[0];
          const words = Object.entries(datum).find(([key, value]) => key !== "step" && typeof value === "string");
          const key = "value" in datum ? "value" : Object.keys(datum).find((key) => key !== "step" && typeof datum[key] === "number");
          found.push({
            plot, name: datum.curve ?? words?.[1] ?? "", colour: stroke,
            points: points.map((item) => ({ x: left + item.x, step: item.datum.step, value: item.datum[key] })),
          });
        }
        return;
      }
      for (const item of node.items ?? []) {
        if (item.marktype) walk(item, left, top, plot);
        else if (item.items) {
          const [x, y] = [left + (item.x ?? 0), top + (item.y ?? 0)];
          const here = item.width ? { left: x, top: y, width: item.width, height: item.height } : plot;
          for (const mark of item.items) walk(mark, x, y, here);
        }
      }
    };
    const [left, top] = view.origin();
    walk(view.scenegraph().root, left, top, null);
    return found;
  }

  function between(points, from, to, at) {
    let i = points.findIndex((point) => point[from] >= at);
    if (i < 0) return points.at(-1)[to];
    if (i === 0) return points[0][to];
    const [one, other] = [points[i - 1], points[i]];
    const share = (at - one[from]) / (other[from] - one[from] || 1);
    return one[to] + share * (other[to] - one[to]);
  }

  function atStep(points, step) {
    let best = points[0];
    for (const point of points) if (point.step <= step) best = point;
    return best;
  }

  function say(value) {
    if (typeof value !== "number") return "";
    const size = Math.abs(value);
    return size && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  function clear() {
    for (const parts of shown.values()) for (const part of parts) part.remove();
    shown.clear();
    document.body.classList.remove("modadd-hovers");
  }

  function mark(box, view, curves, step) {
    const [rule, words] = shown.get(box) ?? [document.createElement("div"), document.createElement("div")];
    const { plot } = curves[0];
    const longest = curves.reduce((a, b) => (a.points.length >= b.points.length ? a : b));
    if (step < longest.points[0].step || !plot) return;
    const x = between(longest.points, "step", "x", step);
    const [outer, inner] = [box.getBoundingClientRect(), view.container().getBoundingClientRect()];
    const left = inner.left - outer.left + x;
    const top = inner.top - outer.top + plot.top;
    if (!shown.has(box)) {
      rule.className = "moment";
      words.className = "moment-says";
      box.append(rule, words);
      shown.set(box, [rule, words]);
    }
    Object.assign(rule.style, { left: `${left}px`, top: `${top}px`, height: `${plot.height}px` });
    const values = curves.map((curve) => [curve, atStep(curve.points, step).value]);
    if (values.length > MOST) values.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    words.replaceChildren(`step ${Math.round(step).toLocaleString("en")}`, ...values.slice(0, MOST).map(([curve, value]) => {
      const line = document.createElement("div");
      const ink = document.createElement("i");
      ink.style.background = curve.colour;
      line.append(ink, `${curve.name} ${say(value)}`.trim());
      return line;
    }));
    const right = left + words.offsetWidth + 12 < box.clientWidth;
    Object.assign(words.style, { left: `${right ? left + 8 : Math.max(0, left - words.offsetWidth - 8)}px`, top: `${top + 4}px` });
  }

  // The step under the mouse, or null where there is no curve over time.
  function stepAt(event) {
    const box = event.target instanceof Element ? event.target.closest("[class*=st-key-chart-]") : null;
    const view = box && charts.get(box);
    if (!view?.container()?.isConnected) return null;
    const inner = view.container().getBoundingClientRect();
    const x = event.clientX - inner.left;
    const y = event.clientY - inner.top;
    const curves = curvesOf(view).filter(({ plot }) => plot && x >= plot.left && x <= plot.left + plot.width && y >= plot.top && y <= plot.top + plot.height);
    if (!curves.length) return null;
    const longest = curves.reduce((a, b) => (a.points.length >= b.points.length ? a : b));
    return between(longest.points, "x", "step", x);
  }

  function follow(event) {
    look(performance.now());
    const step = stepAt(event);
    if (step === null) {
      clear();
      return;
    }
    document.body.classList.add("modadd-hovers");
    for (const [box, view] of charts) {
      if (!box.isConnected || !view.container()?.isConnected) continue;
      const curves = curvesOf(view);
      if (curves.length) mark(box, view, curves, step);
    }
  }

  document.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    cancelAnimationFrame(next);
    next = requestAnimationFrame(() => follow(event));
  });
  document.addEventListener("click", (event) => {
    look(performance.now());
    const step = stepAt(event);
    if (step !== null) document.dispatchEvent(new CustomEvent("modadd-step", { detail: step }));
  });
}

// The player in the browser: it draws the frames that were sent ahead into the charts of the page, while it plays and
// while one drags, and tells the server where it is. Keys and clicks on a curve move it, too.

const players = new Set();
const WRITES = "input:not([type=range]), textarea, select, [contenteditable=true], [role=combobox], [role=grid]";
const HAS_KEYS_OF_ITS_OWN = `input, [role=slider], [role=radiogroup], [role=tablist], [role=listbox], ${WRITES}`;
const PRESSED = "button, a, summary, label, [role=button], [role=option], [role=radio], [role=checkbox]";
const TELL = 500; // milliseconds between two reports while it plays: the numbers on the page follow at this pace
const REST = 120; // milliseconds without a move after which the server is told of the last one
const AHEAD = 1500; // milliseconds of film below which more is asked for sooner
const SHARE = 5; // a page that needs long for an answer is asked again after so many times as long
const LOST = 5000; // milliseconds after which an answer does not come any more
const IDLE = 15000; // milliseconds without a touch after which no frames are asked for
const GREYS = [0.06, 0.2, 0.11]; // opacities of the stages on the track
const ICONS = {
  back: "M6 5h2v14H6zM20 5v14l-11-7z", forward: "M16 5h2v14h-2zM4 5v14l11-7z", play: "M7 4v16l13-8z",
  pause: "M6 4h4v16H6zM14 4h4v16h-4z",
};
const ARRAYS = { u1: Uint8Array, i2: Int16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };
let last = null; // the player that was touched last

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function icon(name) {
  return `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Every chart listens to the event "film"; Vega hands an event the view that heard it.
function findViews() {
  const found = new Map();
  const call = new CustomEvent("film");
  Object.defineProperty(call, "vega", {
    set(vega) {
      const view = vega.view();
      const box = view.container()?.closest("[class*=st-key-chart-]");
      const name = box && [...box.classList].find((name) => name.startsWith("st-key-chart-"));
      if (name) found.set(name.slice("st-key-chart-".length), view);
    },
  });
  window.dispatchEvent(call);
  return found; // filled as soon as the views have come to rest
}

function unpack(column) {
  if (Array.isArray(column)) return column;
  const bytes = Uint8Array.from(atob(column.bytes), (letter) => letter.charCodeAt(0));
  return new ARRAYS[column.kind](bytes.buffer);
}

function isNear(box) {
  const { top, bottom } = box.getBoundingClientRect();
  return bottom > -50 && top < window.innerHeight + 50;
}

class Player {
  constructor(place) {
    this.wish = {};
    this.seq = 0;
    this.at = 0;
    this.views = new Map();
    this.build(place);
    this.forget();
    this.watch = setInterval(() => this.refresh(), 500);
    players.add(this);
  }

  build(place) {
    const button = (name, title, press) => {
      const node = make("button", { type: "button", title, ariaLabel: title, innerHTML: icon(name) });
      node.onclick = (event) => {
        last = this;
        if (event.detail > 0) node.blur(); // after a click with the mouse the keys are the player's again
        press();
      };
      return node;
    };
    this.back = button("back", "Back", () => this.move(-1));
    this.toggle = button("play", "Play", () => this.press());
    this.toggle.className = "play";
    this.forward = button("forward", "Forward", () => this.move(1));
    this.now = make("output", { className: "now" });
    this.slider = make("input", { type: "range", min: 0, max: 1000, step: 1 });
    this.bands = make("div", { className: "bands" });
    this.ends = make("div", { className: "ends" });
    this.speed = make("select", { className: "speed", ariaLabel: "Frames a second" });
    this.root = make("div", { role: "toolbar" }, this.back, this.toggle, this.forward, this.now,
      make("div", { className: "time" }, this.bands, this.slider, this.ends), this.speed);
    place.append(this.root);
    this.root.onpointerenter = () => this.prepare();
    this.root.onfocusin = () => this.prepare();
    this.slider.oninput = () => this.go(this.nearest(this.value(Number(this.slider.value) / 1000)), REST);
    this.slider.onpointerdown = () => {
      last = this;
      this.dragging = true;
    };
    this.slider.onpointerup = this.slider.onpointercancel = () => {
      this.dragging = false;
      this.place();
      if (this.waiting) this.tellNow();
    };
    this.slider.onkeydown = (event) => {
      if (onKey(event, this)) event.stopPropagation();
    };
    this.speed.onchange = () => {
      this.want({ speed: Number(this.speed.value) }, 0);
      this.restart();
    };
  }

  close() {
    cancelAnimationFrame(this.next);
    clearInterval(this.watch);
    clearTimeout(this.timer);
    this.root.remove();
    players.delete(this);
    if (last === this) last = null;
  }

  forget() {
    this.columns = new Map();
    this.reels = new Map(); // chart: {number, frames by moment}
    this.parcel = 0;
    this.shown = new WeakMap(); // view: what each of its tables holds
  }

  // Where a moment stands on the track, from 0 to 1, and back.
  share(moment) {
    const { moments, log } = this.data;
    const [first, end] = [moments[0], moments.at(-1)];
    if (end === first) return 0;
    if (!log) return (moment - first) / (end - first);
    return Math.log1p(moment - first) / Math.log1p(end - first);
  }

  value(share) {
    const { moments, log } = this.data;
    const [first, end] = [moments[0], moments.at(-1)];
    return first + (log ? Math.expm1(share * Math.log1p(end - first)) : share * (end - first));
  }

  nearest(moment) {
    const { moments } = this.data;
    const goal = this.share(Math.min(Math.max(moment, moments[0]), moments.at(-1)));
    let best = 0;
    moments.forEach((other, i) => {
      if (Math.abs(this.share(other) - goal) < Math.abs(this.share(moments[best]) - goal)) best = i;
    });
    return best;
  }

  receive(data, tell) {
    this.tell = tell;
    const before = this.data;
    this.data = data;
    if (before?.take !== data.take) this.forget();
    for (const [number, column] of data.columns) this.columns.set(number, unpack(column));
    for (const [chart, number] of Object.entries(data.reels))
      if (this.reels.get(chart)?.number !== number) this.reels.set(chart, { number, frames: new Map() });
    for (const chart of [...this.reels.keys()]) if (!(chart in data.reels)) this.reels.delete(chart);
    for (const [chart, number, moment, tables] of data.frames) {
      const reel = this.reels.get(chart);
      if (reel?.number === number) reel.frames.set(moment, tables);
    }
    this.parcel = data.parcel;
    if (data.take) this.filmed = false;
    if (this.asked) this.pause = SHARE * (performance.now() - this.told);
    this.asked = false;
    if (data.seq >= this.seq) this.wish = {};
    const moved = before && before.moments.length !== data.moments.length;
    if (!this.running && !this.dragging && (!("at" in this.wish) || moved)) this.at = this.indexOf(data.at);
    this.at = Math.min(this.at, data.moments.length - 1);
    const playing = this.wish.playing ?? data.playing;
    if (playing && !this.running) this.start();
    else if (!playing && this.running) this.running = false;
    this.lay();
    // With an answer the page may have put back what its charts showed when the film began.
    this.shown = new WeakMap();
    this.refresh(!this.running);
    if (!this.running && data.take && !this.complete() && performance.now() - this.touched < IDLE) this.report({});
  }

  indexOf(moment) {
    return Math.max(0, this.data.moments.indexOf(moment));
  }

  // Asks for the frames before they are needed.
  prepare() {
    this.touched = performance.now();
    if (!this.data.plays || this.data.locked) return;
    if (!this.data.take && !this.filmed) {
      this.filmed = true;
      this.report({ film: true });
    } else if (this.data.take && !this.complete()) this.report({});
  }

  complete() {
    for (const reel of this.reels.values()) if (reel.frames.size < this.data.moments.length) return false;
    return true;
  }

  want(change, rest) {
    this.seq = Math.max(this.seq + 1, Date.now());
    Object.assign(this.wish, change);
    this.waiting = true;
    clearTimeout(this.timer);
    if (rest) this.timer = setTimeout(() => this.tellNow(), rest);
    else this.tellNow();
  }

  tellNow() {
    clearTimeout(this.timer);
    this.waiting = false;
    this.asked = false;
    this.report({});
  }

  report(more) {
    if (this.asked && performance.now() - this.told < LOST) return;
    this.told = performance.now();
    this.asked = true;
    this.tell({ ...this.wish, ...more, seq: this.seq, take: this.data.take, parcel: this.parcel });
  }

  go(index, rest = 0) {
    if (this.data.locked) return;
    this.touched = performance.now();
    if (this.running) this.halt();
    this.at = index;
    this.say();
    if (!this.dragging) this.place();
    this.paint(false);
    if (!this.data.take && this.data.plays) this.filmed = true;
    this.want({ at: this.data.moments[index], ...(this.data.take || !this.data.plays ? {} : { film: true }) }, rest);
  }

  move(by) {
    this.go(Math.min(Math.max(this.at + by, 0), this.data.moments.length - 1), by ? REST : 0);
  }

  press() {
    if (this.data.locked || !this.data.plays) return;
    if (this.running) {
      this.halt();
      return;
    }
    if (this.at === this.data.moments.length - 1) this.at = 0;
    this.start();
    this.want({ playing: true, at: this.data.moments[this.at] }, 0);
    this.lay();
  }

  start() {
    this.running = true;
    this.told = performance.now();
    this.restart();
    cancelAnimationFrame(this.next);
    this.next = requestAnimationFrame((now) => this.turn(now));
  }

  restart() {
    this.first = this.at;
    this.since = performance.now();
  }

  halt() {
    this.running = false;
    cancelAnimationFrame(this.next);
    this.paint(true);
    this.want({ playing: false, at: this.data.moments[this.at] }, 0);
    this.lay();
  }

  has(at) {
    const moment = this.data.moments[at];
    for (const reel of this.reels.values()) if (!reel.frames.has(moment)) return false;
    return Boolean(this.data.take);
  }

  turn(now) {
    if (!this.running) return;
    const { moments } = this.data;
    const speed = this.wish.speed ?? this.data.speed;
    const due = Math.min(this.first + Math.floor(((now - this.since) * speed) / 1000), moments.length - 1);
    let at = this.at;
    while (at < due && this.has(at + 1)) at += 1;
    if (at !== this.at) {
      this.at = at;
      this.say();
      this.place();
    }
    if (at < due) this.restart(); // the film waits for what is still to come
    this.paint(false);
    if (at === moments.length - 1) {
      this.halt();
      return;
    }
    let enough = at;
    while (enough + 1 < moments.length && enough - at < (AHEAD * speed) / 1000 && this.has(enough + 1)) enough += 1;
    const starving = enough + 1 < moments.length && enough - at < (AHEAD * speed) / 1000;
    const pace = starving ? TELL / 2 : this.reels.size ? Math.max(TELL, this.pause ?? 0) : 1000 / speed;
    if (!this.asked && now - this.told >= pace) this.report({ playing: true, at: moments[at] });
    if (this.asked && now - this.told > 2 * LOST) this.asked = false; // an answer was lost
    this.next = requestAnimationFrame((now) => this.turn(now));
  }

  // Charts that cannot be seen are drawn when they come into view, or when the film halts.
  paint(all) {
    for (const [chart, reel] of this.reels) {
      const tables = reel.frames.get(this.data.moments[this.at]);
      const view = this.views.get(chart);
      const box = view?.container();
      if (!box?.isConnected) {
        const now = performance.now();
        if (now - (this.looked ?? 0) > 200) {
          this.looked = now;
          this.views = findViews();
        }
      } else if (tables && (all || isNear(box))) this.change(view, tables);
    }
  }

  // What the page draws anew, and what comes into view, follows.
  refresh(all = false) {
    if (!this.data?.take) return;
    this.views = findViews();
    setTimeout(() => this.paint(all), 80);
  }

  change(view, tables) {
    const shown = this.shown.get(view) ?? {};
    let changed = false;
    for (const [name, [length, columns]] of Object.entries(tables)) {
      const what = `${length} ${Object.values(columns)}`;
      if (shown[name] === what) continue;
      shown[name] = what;
      changed = true;
      const arrays = Object.entries(columns).map(([column, number]) => [column, this.columns.get(number)]);
      const rows = Array.from({ length }, (_, row) => {
        const datum = {};
        for (const [column, values] of arrays) datum[column] = values[row];
        return datum;
      });
      view.data(name, rows);
    }
    this.shown.set(view, shown);
    if (changed) view.runAsync();
  }

  // Everything that stands in the row.
  lay() {
    const { data } = this;
    this.root.className = `player${data.docked ? " docked" : ""}`;
    this.root.ariaLabel = data.title;
    this.slider.ariaLabel = data.title;
    this.toggle.hidden = !data.plays;
    this.toggle.style.display = this.speed.style.display = data.plays ? "" : "none";
    for (const node of [this.slider, this.toggle]) node.disabled = data.locked;
    const label = this.running ? "Pause" : "Play";
    if (this.toggle.title !== label) {
      Object.assign(this.toggle, { title: label, ariaLabel: label, innerHTML: icon(label.toLowerCase()) });
    }
    if (!this.speed.options.length)
      this.speed.append(...data.speeds.map((n) => make("option", { value: n, textContent: `${n} frames/s` })));
    this.speed.value = this.wish.speed ?? data.speed;
    const laid = JSON.stringify([data.moments[0], data.moments.at(-1), data.log, data.stages, data.turns]);
    if (laid !== this.laid) {
      this.laid = laid;
      this.layTrack();
    }
    this.say();
    if (!this.dragging) this.place();
  }

  layTrack() {
    const { moments, stages, turns } = this.data;
    let from = 0;
    this.bands.replaceChildren(...stages.map(([name, end], i) => {
      const left = from;
      from = this.share(Math.min(end, moments.at(-1)));
      const style = `left: ${100 * left}%; width: ${100 * (from - left)}%; background: currentColor; opacity: ${GREYS[i]}`;
      return make("i", { title: name, style });
    }));
    const jump = (name, moment, className, text) => {
      const to = this.nearest(moment);
      const near = moments[to] === moment ? "" : `; the nearest frame is of ${moments[to].toLocaleString("en")}`;
      const node = make("button", {
        type: "button", className, textContent: text, title: `${name}${near}`, ariaLabel: `${name}: ${text}`,
        style: `left: ${100 * this.share(moment)}%`,
      });
      node.onclick = () => this.go(to);
      return node;
    };
    const say = (moment) => moment.toLocaleString("en");
    const between = turns.filter(([, at]) => at !== null && this.share(at) > 0.06 && this.share(at) < 0.93);
    this.ends.replaceChildren(jump("Start", moments[0], "first", say(moments[0])),
      ...between.map(([name, at]) => jump(name, at, "turn", say(at))), jump("End", moments.at(-1), "last", say(moments.at(-1))));
  }

  place() {
    const at = String(Math.round(1000 * this.share(this.data.moments[this.at])));
    if (this.slider.value !== at) this.slider.value = at;
  }

  say() {
    const moment = this.data.moments[this.at];
    const words = moment.toLocaleString("en");
    const stage = this.data.stages.find(([, end]) => moment <= end)?.[0].replace(/^I+ /, "");
    const unit = this.data.key.endsWith("step") ? "Step " : "";
    const bold = make("b", { textContent: `${unit}${words}${this.data.key === "percent" ? " %" : ""}` });
    const text = stage ? ` · ${stage}` : "";
    if (this.now.textContent !== bold.textContent + text) this.now.replaceChildren(bold, text);
    this.slider.setAttribute("aria-valuetext", words);
    this.back.disabled = this.data.locked || this.at === 0;
    this.forward.disabled = this.data.locked || this.at === this.data.moments.length - 1;
  }
}

// Is this a key of the player, and did it do what it is for?
function onKey(event, player) {
  const { key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.defaultPrevented) return false;
  const end = player.data.moments.length - 1;
  const press = {
    " ": () => event.repeat || player.press(), ArrowLeft: () => player.move(-1), ArrowRight: () => player.move(1),
    Home: () => player.go(0, REST), End: () => player.go(end, REST),
  }[key];
  if (!press) return false;
  event.preventDefault();
  press();
  return true;
}

document.addEventListener("keydown", (event) => {
  const target = event.target instanceof Element ? event.target : document.body;
  const player = players.has(last) ? last : [...players].find((one) => one.data.docked) ?? [...players][0];
  if (!player?.data || target.closest(event.key === " " ? `${WRITES}, ${PRESSED}` : HAS_KEYS_OF_ITS_OWN)) return;
  onKey(event, player);
});

// A click on a curve: the step under the mouse (hover.js).
document.addEventListener("modadd-step", ({ detail }) => {
  const player = [...players].find((one) => one.data?.docked && one.data.key === "step");
  if (player) player.go(player.nearest(detail));
});

export default function ({ data, parentElement, setTriggerValue }) {
  const player = (parentElement.player ??= new Player(parentElement));
  player.receive(data, (news) => setTriggerValue("tick", news));
  return () => {
    player.close();
    delete parentElement.player;
  };
}

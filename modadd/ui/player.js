// The player in the browser: it draws the frames that were sent ahead into the charts of the page, tells the server
// now and then how far it is, and turns keys into clicks on its buttons.

const players = new Set();
const KEYS = { " ": "play", ArrowLeft: "Back", ArrowRight: "Forward", Home: "Start", End: "End" };
const WRITES = "input:not([type=range]), textarea, select, [contenteditable=true], [role=combobox], [role=grid]";
const HAS_KEYS_OF_ITS_OWN = `input, [role=slider], [role=radiogroup], [role=tablist], [role=listbox], ${WRITES}`;
const PRESSED = "button, a, summary, label, [role=button], [role=option], [role=radio], [role=checkbox]";
const TELL = 500; // milliseconds between two reports: the numbers on the page follow at this pace
const AHEAD = 1500; // milliseconds of film below which more is asked for sooner
const SHARE = 5; // a page that needs long for an answer is asked again after so many times as long
const ARRAYS = { u1: Uint8Array, i2: Int16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };
let last = null; // the player that was touched last

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
    this.line = document.createElement("div");
    this.line.className = "player-line";
    place.appendChild(this.line);
    this.touched = (event) => this.touch(event);
    document.addEventListener("click", this.touched, true);
    this.forget();
    players.add(this);
  }

  close() {
    cancelAnimationFrame(this.next);
    document.removeEventListener("click", this.touched, true);
    players.delete(this);
    if (last === this) last = null;
  }

  forget() {
    this.columns = new Map();
    this.reels = new Map(); // chart: {number, frames by moment}
    this.parcel = 0;
    this.shown = new WeakMap(); // view: what each of its tables holds
  }

  receive(data, tell) {
    this.tell = tell;
    if (this.data?.take !== data.take) this.forget();
    const speed = this.data?.speed;
    this.data = data;
    this.pause = this.asked ? SHARE * (performance.now() - this.told) : 0;
    this.asked = false;
    for (const [number, column] of data.columns) this.columns.set(number, unpack(column));
    for (const [chart, number] of Object.entries(data.reels))
      if (this.reels.get(chart)?.number !== number) this.reels.set(chart, { number, frames: new Map() });
    for (const [chart, number, moment, tables] of data.frames) {
      const reel = this.reels.get(chart);
      if (reel?.number === number) reel.frames.set(moment, tables);
    }
    this.parcel = data.parcel;
    if (data.playing && !this.running && !this.frozen) this.start();
    else if (!data.playing) this.stop();
    else if (speed !== data.speed) this.restart();
    this.say();
  }

  start() {
    this.running = true;
    this.at = Math.max(0, this.data.moments.indexOf(this.data.at));
    this.views = findViews();
    this.told = performance.now();
    this.restart();
    this.next = requestAnimationFrame((now) => this.turn(now));
  }

  restart() {
    this.first = this.at;
    this.since = performance.now();
  }

  stop() {
    const played = this.running || this.frozen;
    this.running = this.frozen = false;
    cancelAnimationFrame(this.next);
    if (!played) return;
    this.at = Math.max(0, this.data.moments.indexOf(this.data.at));
    this.paint(true); // the page may say again what it said before the film, and then changes nothing
    this.forget();
    const then = this.then;
    this.then = null;
    if (then) setTimeout(() => this.press(then), 0);
  }

  // Halts where the film is, and presses this button once the server has heard of it.
  halt(then) {
    this.then = then;
    this.running = false;
    this.frozen = true;
    cancelAnimationFrame(this.next);
    this.paint(true);
    this.report({ ended: true });
  }

  has(at) {
    const moment = this.data.moments[at];
    for (const reel of this.reels.values()) if (!reel.frames.has(moment)) return false;
    return true;
  }

  turn(now) {
    if (!this.running) return;
    const { moments, speed } = this.data;
    const due = Math.min(this.first + Math.floor(((now - this.since) * speed) / 1000), moments.length - 1);
    let at = this.at;
    while (at < due && this.has(at + 1)) at += 1;
    if (at !== this.at) {
      this.at = at;
      this.say();
    }
    if (at < due) this.restart(); // the film waits for what is still to come
    this.paint(false);
    if (at === moments.length - 1) {
      this.halt(null);
      return;
    }
    let enough = at;
    while (enough + 1 < moments.length && enough - at < (AHEAD * speed) / 1000 && this.has(enough + 1)) enough += 1;
    const starving = enough + 1 < moments.length && enough - at < (AHEAD * speed) / 1000;
    const pace = starving ? TELL / 2 : this.reels.size ? Math.max(TELL, this.pause) : 1000 / speed;
    if (!this.asked && now - this.told >= pace) this.report({});
    if (this.asked && now - this.told > 10 * TELL) this.asked = false; // an answer was lost
    this.next = requestAnimationFrame((now) => this.turn(now));
  }

  report(more) {
    this.told = performance.now();
    this.asked = true;
    this.tell({ at: this.data.moments[this.at], take: this.data.take, parcel: this.parcel, ...more });
  }

  // Charts that cannot be seen are drawn when they come into view, or when the film halts.
  paint(all) {
    const moment = this.data.moments[this.at];
    for (const [chart, reel] of this.reels) {
      const tables = reel.frames.get(moment);
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

  say() {
    const moment = this.data.moments[this.running ? this.at : this.data.moments.indexOf(this.data.at)];
    const text = `${this.data.title} ${moment?.toLocaleString("en")}${this.running ? "" : `. ${this.data.hint}`}`;
    if (this.line.textContent !== text) this.line.textContent = text;
  }

  button(name) {
    return document.querySelector(`.st-key-${this.data.key}-${name} button`);
  }

  nameOf(button) {
    const start = `st-key-${this.data.key}-`;
    const box = button.closest(`[class*="${start}"]`);
    const name = box && [...box.classList].find((each) => each.startsWith(start)).slice(start.length);
    return name === "speed" ? null : name;
  }

  owns(target) {
    return Boolean(target?.closest?.(`[class*="st-key-${this.data?.key}-"], .st-key-${this.data?.key}`));
  }

  touch(event) {
    if (!this.owns(event.target)) return;
    last = this;
    const button = event.target.closest("button");
    // After a click with the mouse the keys are the player's again, not the button's.
    if (event.detail > 0) button?.blur();
    const name = button && this.nameOf(button);
    if (!name || !(this.running || this.frozen)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (this.running) this.press(name);
  }

  press(name) {
    const button = this.button(name);
    if (this.frozen || !button || button.disabled) return;
    if (this.running) this.halt(name === "play" ? null : name);
    else button.click();
  }
}

function onKey(event) {
  const name = KEYS[event.key];
  const target = event.target instanceof Element ? event.target : document.body;
  const player = players.has(last) ? last : [...players][0];
  if (!name || !player || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (target.closest(name === "play" ? `${WRITES}, ${PRESSED}` : HAS_KEYS_OF_ITS_OWN)) return;
  event.preventDefault();
  if (!(event.repeat && name === "play")) player.press(name);
}

document.addEventListener("keydown", onKey);

export default function ({ data, parentElement, setTriggerValue }) {
  const player = (parentElement.player ??= new Player(parentElement));
  player.receive(data, (news) => setTriggerValue("tick", news));
  return () => {
    player.close();
    delete parentElement.player;
  };
}

// The first row of the instrument bar: modulus, run, time axis and sharing. What is chosen is shown at once and told to
// the server, again and again until it says to have heard of it.

const REST = 120; // milliseconds without a move after which a slider's value is told
const COPIED = 1500; // milliseconds for which a button says that it has copied

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https a browser keeps its clipboard to itself, but not what is selected.
    const box = make("textarea", { value: text, style: "position: fixed; opacity: 0" });
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
}

function copies(button, words, address) {
  button.onclick = async () => {
    await copy(address());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = words), COPIED);
  };
  button.textContent = words;
  return button;
}

class Bar {
  constructor(place) {
    this.wish = {};
    this.seq = 0;
    this.minus = make("button", { type: "button", ariaLabel: "Previous modulus", textContent: "−" });
    this.plus = make("button", { type: "button", ariaLabel: "Next modulus", textContent: "+" });
    this.number = make("output", { className: "p" });
    this.slider = make("input", { type: "range", className: "modulus", ariaLabel: "Modulus p" });
    this.run = make("select", { className: "run", ariaLabel: "Run" });
    this.log = make("button", { type: "button", textContent: "log" });
    this.linear = make("button", { type: "button", textContent: "linear" });
    this.runWord = make("span", { className: "word", textContent: "Run" });
    this.axis = make("span", { className: "axis", role: "group", ariaLabel: "Axis of the training steps" });
    this.axis.append(this.log, this.linear);
    this.share = this.sharing();
    this.root = make("div", { className: "bar", role: "toolbar", ariaLabel: "Modulus and run" });
    this.root.append(make("span", { textContent: "p" }), this.minus, this.number, this.plus, this.slider, this.runWord,
      this.run, make("span", { className: "gap" }), make("span", { className: "word", textContent: "Steps" }), this.axis,
      this.share);
    place.append(this.root);
    this.slider.oninput = () => this.modulus(Number(this.slider.value), REST);
    this.slider.onpointerup = () => this.modulus(Number(this.slider.value), 0);
    this.minus.onclick = () => this.modulus(Number(this.slider.value) - 2, REST);
    this.plus.onclick = () => this.modulus(Number(this.slider.value) + 2, REST);
    this.run.onchange = () => this.want({ run: this.run.value }, 0);
    this.log.onclick = () => this.want({ axis: "log" }, 0);
    this.linear.onclick = () => this.want({ axis: "linear" }, 0);
    this.outside = (event) => {
      if (this.share.open && !this.share.contains(event.target)) this.share.open = false;
    };
    document.addEventListener("pointerdown", this.outside, true);
  }

  close() {
    clearTimeout(this.timer);
    document.removeEventListener("pointerdown", this.outside, true);
  }

  sharing() {
    const boxes = [];
    const box = (list, name, words) => {
      const input = make("input", { type: "checkbox" });
      boxes.push([list, name, input]);
      return make("label", {}, input, words);
    };
    const classLink = () => {
      const address = new URL(window.location.href);
      for (const list of ["lock", "hide"]) {
        const chosen = boxes.filter(([of, , input]) => of === list && input.checked).map(([, name]) => name);
        address.searchParams.delete(list);
        if (chosen.length) address.searchParams.set(list, chosen.join(","));
      }
      return address.href.replaceAll("%2C", ",");
    };
    const link = copies(make("button", { type: "button" }), "Copy link", () => window.location.href);
    const made = copies(make("button", { type: "button" }), "Copy link for a class", classLink);
    const menu = make("div", {}, link, make("b", { textContent: "Link for a class: lock" }),
      box("lock", "p", "Modulus p"), box("lock", "run", "Run"), box("lock", "step", "Training step"),
      make("b", { textContent: "Hide" }), box("hide", "navigation", "Navigation"),
      box("hide", "controls", "All controls"), made,
      make("small", { textContent: "A convenience, not a protection: anyone who edits the URL can unlock it." }));
    const share = make("details", { className: "share" }, make("summary", { textContent: "Share" }), menu);
    share.onkeydown = (event) => {
      if (event.key === "Escape") share.open = false;
    };
    return share;
  }

  modulus(p, rest) {
    p = Math.min(Math.max(p, Number(this.slider.min)), Number(this.slider.max));
    this.slider.value = p;
    this.number.textContent = p;
    if (p !== (this.wish.p ?? this.data.p)) this.want({ p }, rest);
    else if (!rest) this.tellNow();
  }

  want(change, rest) {
    this.seq = Math.max(this.seq + 1, Date.now());
    Object.assign(this.wish, change);
    this.show();
    clearTimeout(this.timer);
    this.waiting = true;
    if (rest) this.timer = setTimeout(() => this.tellNow(), rest);
    else this.tellNow();
  }

  tellNow() {
    clearTimeout(this.timer);
    if (this.waiting) this.tell({ ...this.wish, seq: this.seq });
    this.waiting = false;
  }

  receive(data, tell) {
    this.tell = tell;
    this.data = data;
    if (data.seq >= this.seq) this.wish = {};
    this.show();
  }

  show() {
    const { data } = this;
    const { p, run, axis } = { ...data, ...this.wish };
    Object.assign(this.slider, { min: data.least, max: data.most, step: 2, disabled: data.locked.includes("p") });
    if (document.activeElement !== this.slider || this.slider.value !== String(p)) this.slider.value = p;
    this.slider.setAttribute("aria-valuetext", p);
    this.number.textContent = p;
    this.minus.disabled = data.locked.includes("p") || p <= data.least;
    this.plus.disabled = data.locked.includes("p") || p >= data.most;
    const listed = JSON.stringify(data.runs);
    if (listed !== this.listed) {
      this.listed = listed;
      this.run.replaceChildren(...data.runs.map(([group, runs]) =>
        make("optgroup", { label: group }, ...runs.map(([value, words]) => make("option", { value }, words)))));
    }
    this.run.value = run;
    this.run.disabled = data.locked.includes("run");
    this.run.hidden = this.runWord.hidden = !data.runs.length;
    this.run.style.display = this.runWord.style.display = data.runs.length ? "" : "none";
    this.log.ariaPressed = String(axis !== "linear");
    this.linear.ariaPressed = String(axis === "linear");
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const bar = (parentElement.bar ??= new Bar(parentElement));
  bar.receive(data, (wish) => setTriggerValue("wish", wish));
  return () => {
    bar.close();
    bar.root.remove();
    delete parentElement.bar;
  };
}

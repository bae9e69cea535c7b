// Streamlit adds an entry to the browser's history for every parameter that a page writes into its address. Here only
// the first after a gesture of the visitor does, and the rest belongs to it: Back returns to the view before.

if (!window.history.pushState.byGesture) {
  const push = window.history.pushState.bind(window.history);
  let moved = false;
  for (const kind of ["pointerdown", "keydown"])
    window.addEventListener(kind, (event) => (moved ||= event.isTrusted && !event.repeat), true);
  window.history.pushState = (state, title, url) => {
    const leaves = new URL(url, window.location.href).pathname !== window.location.pathname;
    if (leaves || moved) push(state, title, url);
    else window.history.replaceState(state, title, url);
    moved = false;
  };
  window.history.pushState.byGesture = true;
}

export default function () {}

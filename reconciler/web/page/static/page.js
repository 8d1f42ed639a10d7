// Pauses the refresh, and says when it fails. The page is complete without it.
"use strict";
(() => {
  const [live, pause, how, lost] = ["live", "pause", "how", "lost"].map((id) => document.getElementById(id));
  let seen = new Date();

  const paused = () => pause.getAttribute("aria-pressed") === "true";
  const utc = (time) => `${time.toISOString().slice(11, 19)}Z`;
  const refresh = () => htmx.trigger(live, "every", {}, false);

  const fail = (why) => {
    const text = `Not refreshed since ${utc(seen)}: ${why}. What is shown may be old.`;
    if (lost.textContent !== text) lost.textContent = text;
    lost.hidden = false;
    document.body.classList.add("stale");
  };

  pause.addEventListener("click", () => {
    const now = !paused();
    pause.setAttribute("aria-pressed", String(now));
    how.textContent = now ? `refresh paused at ${utc(seen)}` : "page refreshes every 5 s";
    if (!now) refresh();
  });
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  live.addEventListener("htmx:before:request", (event) => {
    if (paused() || document.hidden) event.preventDefault();
  });
  // What is not the overview, such as a proxy's error, must not replace this one.
  live.addEventListener("htmx:after:request", (event) => {
    const { response, text } = event.detail.ctx;
    if (response.status === 200 && text.includes('<main id="live"')) return;
    fail(`the answer was HTTP ${response.status}`);
    event.preventDefault();
  });
  live.addEventListener("htmx:error", () => fail("there was no answer. Is reconciler running?"));
  live.addEventListener("htmx:after:swap", () => {
    seen = new Date();
    lost.hidden = true;
    document.body.classList.remove("stale");
  });
  pause.hidden = how.hidden = false;
})();

// A part of a page that reloads itself keeps what has the focus and what is open. If it cannot be
// reloaded, the page says since when.
"use strict";

const FOCUSABLE = "a[href], button, summary, input, select, textarea, [tabindex]";

const keyOf = (element) =>
  [element.tagName, element.id, element.getAttribute("href") ?? element.textContent.trim()].join(" ");

const kept = { key: null, place: -1, open: [] };

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const part = detail.target;
  const all = [...part.querySelectorAll(FOCUSABLE)];
  kept.place = all.indexOf(document.activeElement);
  kept.key = kept.place < 0 ? null : keyOf(document.activeElement);
  kept.open = [...part.querySelectorAll("details[open] > summary")].map(keyOf);
});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  const part = document.getElementById(detail.target.id);
  if (part === null) return;
  for (const summary of part.querySelectorAll("summary")) {
    if (kept.open.includes(keyOf(summary))) summary.parentElement.open = true;
  }
  if (kept.key === null) return;
  const all = [...part.querySelectorAll(FOCUSABLE)];
  // What is gone leaves its place to what follows it.
  const next = all.find((each) => keyOf(each) === kept.key) ?? all[Math.min(kept.place, all.length - 1)];
  (next ?? document.getElementById("main")).focus({ preventScroll: true });
});

const say = (text) => {
  const line = document.getElementById("not-updated");
  if (line !== null && line.textContent !== text) line.textContent = text;
};

let failedAt = null;
for (const event of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(event, () => {
    failedAt ??= new Date().toISOString().slice(11, 19);
    say(`Not updated since ${failedAt} UTC: the operations page does not answer as it should.`);
  });
}
document.addEventListener("htmx:afterSwap", () => {
  failedAt = null;
  say("");
});

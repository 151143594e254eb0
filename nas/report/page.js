"use strict";

// Without this script every description is the browser's own tooltip; with it, ours.
const descriptions = new Map();
const SNAP_PX = 16;
const MARK_BONUS_PX = 6;

const tooltip = document.createElement("div");
tooltip.className = "tooltip";
tooltip.hidden = true;
tooltip.setAttribute("aria-hidden", "true");
document.body.append(tooltip);

let lit = null;

function describe(element, text) {
  descriptions.set(element, text);
  element.setAttribute("aria-label", text.replaceAll("\n", ", "));
}

for (const title of document.querySelectorAll("svg title")) {
  describe(title.parentElement, title.textContent);
  title.remove();
}
for (const element of document.querySelectorAll("[title]")) {
  describe(element, element.title);
  element.removeAttribute("title");
}

function show(element, left, top) {
  if (lit !== element) {
    hide();
    lit = element;
    lit.classList.add("lit");
    tooltip.textContent = descriptions.get(element);
    tooltip.hidden = false;
  }
  const { offsetWidth: width, offsetHeight: height } = tooltip;
  const x = left + 14 + width > innerWidth ? left - 14 - width : left + 14;
  const y = top + 14 + height > innerHeight ? top - 14 - height : top + 14;
  tooltip.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
}

function hide() {
  lit?.classList.remove("lit");
  lit = null;
  tooltip.hidden = true;
}

const plots = new Map();
for (const plot of document.querySelectorAll(".scatter")) {
  const points = [...plot.querySelectorAll("circle, .mark")].map((element) => ({
    element,
    x: Number(element.dataset.x ?? element.getAttribute("cx")),
    y: Number(element.dataset.y ?? element.getAttribute("cy")),
    bonus: element.matches(".mark") ? MARK_BONUS_PX : 0,
  }));
  plots.set(plot, points);
}

function nearest(plot, event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(
    plot.getScreenCTM().inverse(),
  );
  let best = null;
  let least = SNAP_PX;
  for (const { element, x, y, bonus } of plots.get(plot)) {
    const distance = Math.hypot(x - at.x, y - at.y) - bonus;
    // The last of equals is drawn on top.
    if (distance <= least) {
      [best, least] = [element, distance];
    }
  }
  return best;
}

function described(event) {
  const plot = event.target.closest(".scatter");
  if (plot) {
    return nearest(plot, event);
  }
  const element = event.target.closest("li");
  return descriptions.has(element) ? element : null;
}

function follow(event) {
  const element = described(event);
  if (element) {
    show(element, event.clientX, event.clientY);
  } else {
    hide();
  }
}

document.addEventListener("pointermove", follow);
document.addEventListener("pointerdown", follow);
document.addEventListener("focusout", hide);
document.addEventListener("keydown", (event) => event.key === "Escape" && hide());

function followFocus() {
  const element = document.activeElement;
  if (descriptions.has(element) && element.matches(":focus-visible")) {
    const { right, bottom } = element.getBoundingClientRect();
    show(element, right, bottom);
  } else {
    hide();
  }
}

document.addEventListener("focusin", followFocus);
// Scrolling moves what is described; capture hears the scrolling of a part of the page, too.
document.addEventListener("scroll", followFocus, { capture: true, passive: true });

function sortBy(header) {
  const table = header.closest("table");
  const column = [...header.parentElement.children].indexOf(header);
  const isNumeric = table.tBodies[0].rows[0]?.cells[column].dataset.value !== undefined;
  const before = header.getAttribute("aria-sort");
  const order = before === "ascending" ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const compare = ({ cells: { [column]: a } }, { cells: { [column]: b } }) =>
    isNumeric
      ? a.dataset.value - b.dataset.value
      : a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  const rows = [...table.tBodies[0].rows].sort((a, b) => sign * compare(a, b));
  table.tBodies[0].append(...rows);
  for (const other of header.parentElement.children) {
    other.removeAttribute("aria-sort");
  }
  header.setAttribute("aria-sort", order);
}

for (const button of document.querySelectorAll(".comparison button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const status = document.getElementById("status");
  const views = new Map(); // chart element -> Vega view

  // Charts: drawn when they can be seen, one after the other.

  async function draw(chart) {
    if (views.has(chart)) return;
    views.set(chart, null);
    const spec = JSON.parse(chart.closest("figure").querySelector("script").textContent);
    // ast: expressions are interpreted, so that the page's policy can forbid `eval`.
    const options = { ast: true, renderer: "svg", actions: false, tooltip: { theme: "light" } };
    const result = await vegaEmbed(chart, spec, options);
    // The label of the chart says what it shows; the table behind it has the figures.
    chart.querySelector("svg").setAttribute("aria-hidden", "true");
    views.set(chart, result.view);
  }

  async function drawVisible() {
    for (const chart of all(".chart")) {
      if (!chart.closest("details:not([open])")) await draw(chart);
    }
  }

  // Fires for a click on the heading, for the keyboard, and for find-in-page.
  for (const details of all("details")) details.addEventListener("toggle", drawVisible);

  // Zoom buttons: the wheel and the mouse do the same on the chart itself.

  const start = new WeakMap();
  for (const button of all("[data-zoom]")) {
    button.addEventListener("click", async () => {
      const view = views.get(button.closest("figure").querySelector(".chart"));
      if (!view) return;
      const factor = Number(button.dataset.zoom);
      for (const axis of ["x", "y"]) {
        const name = `zoom_${axis === "x" ? "safety" : "utility"}`;
        const [low, high] = view.scale(axis).domain();
        if (!start.has(view)) start.set(view, {});
        start.get(view)[axis] ??= [low, high];
        const middle = (low + high) / 2, reach = ((high - low) / 2) * factor;
        view.signal(name, factor ? [middle - reach, middle + reach] : start.get(view)[axis]);
      }
      await view.runAsync();
    });
  }

  // Long tables: on a narrow screen, where rows are cards, the first few until more are asked for.

  function showRows(table) {
    table.classList.remove("short");
    table.parentElement.querySelector(".show-rows")?.remove();
  }

  for (const table of all("table.wide")) {
    const rows = table.tBodies[0].rows.length;
    if (rows <= 12) continue;
    table.classList.add("short");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "show-rows";
    button.textContent = `Show all ${rows} rows`;
    button.addEventListener("click", () => showRows(table));
    table.after(button);
  }

  // Tables: sorted by a click on a column's head, filtered by the choice above them.

  function sortKey(cell) {
    if (cell.dataset.key !== undefined) return Number(cell.dataset.key);
    return cell.textContent === "–" ? null : cell.textContent.trim();
  }

  function compare(a, b) {
    if (a === null || b === null) return a === b ? 0 : a === null ? Infinity : -Infinity;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  }

  for (const button of all("button.sort")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), body = head.closest("table").tBodies[0];
      const index = head.cellIndex;
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of all("th[aria-sort]", head.parentNode)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [sortKey(row.cells[index]), row]);
      rows.sort(([a], [b]) => {
        const order = compare(a, b);
        return Math.abs(order) === Infinity ? Math.sign(order) : down ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
      status.textContent = `Sorted by ${button.textContent}, ${down ? "descending" : "ascending"}`;
    });
  }

  for (const select of all("[data-filter]")) {
    select.addEventListener("change", async () => {
      all("table.short").forEach(showRows);
      const section = select.closest("section");
      const rows = all("tr[data-group]", section);
      for (const row of rows) row.hidden = select.value !== "" && row.dataset.group !== select.value;
      const shown = rows.filter((row) => !row.hidden).length;
      const count = section.querySelector("[data-count]");
      count.textContent = select.value ? `${shown} of ${rows.length} rows` : "";
      status.textContent = `${shown} of ${rows.length} rows shown`;
      for (const chart of all(".chart[data-groups]", section)) {
        const view = views.get(chart);
        if (view) await view.signal("category_shown", select.value).runAsync();
      }
    });
  }

  // Evidence: some pairs at a time, those that fit the choice.

  const STEP = 10;
  const pairs = all("article.pair");
  const picks = Object.fromEntries(all("[data-pick]").map((each) => [each.dataset.pick, each]));
  const more = document.getElementById("more-pairs");
  let most = STEP;

  function fits(pair) {
    const { better, worse, benchmark } = pair.dataset;
    const identity = picks.identity.value, direction = picks.direction.value;
    if (picks.benchmark.value && benchmark !== picks.benchmark.value) return false;
    if (!identity) return true;
    return (direction !== "worse" && better === identity)
      || (direction !== "better" && worse === identity);
  }

  function showPairs() {
    picks.direction.disabled = !picks.identity.value;
    const fitting = pairs.filter(fits), shown = new Set(fitting.slice(0, most));
    for (const pair of pairs) pair.hidden = !shown.has(pair);
    more.hidden = fitting.length <= most;
    document.getElementById("evidence-count").textContent =
      `${shown.size} of ${fitting.length} matching pairs are shown.`;
  }

  if (pairs.length) {
    for (const pick of Object.values(picks)) {
      pick.addEventListener("change", () => { most = STEP; showPairs(); });
    }
    more.addEventListener("click", () => { most += STEP; showPairs(); });
    showPairs();
  }

  // Harmful answers: veiled to the eye and to a screen reader until asked for.

  function unveil(button, open) {
    const answer = button.closest(".side").querySelector(".answer");
    answer.classList.toggle("veiled", !open);
    if (open) answer.removeAttribute("aria-hidden");
    else answer.setAttribute("aria-hidden", "true");
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Hide this answer (judged harmful)" : "Show this answer (judged harmful)";
  }

  for (const button of all("[data-unveil]")) {
    button.addEventListener("click", () => {
      unveil(button, button.getAttribute("aria-expanded") !== "true");
    });
  }
  for (const button of all("[data-unveil-all]")) {
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(open));
      button.textContent = open ? "Hide all harmful answers" : "Show all harmful answers";
      for (const each of all("[data-unveil]")) unveil(each, open);
    });
  }

  // Terms: explained where they stand, by the mouse, the keyboard or a tap.

  const tip = document.getElementById("tip");
  const meanings = new Map(all("[data-meaning]").map((each) => [each.dataset.meaning, each]));

  function explain(term) {
    tip.textContent = meanings.get(term.dataset.term).textContent;
    tip.hidden = false;
    const box = term.getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(box.left, room)) + window.scrollX}px`;
    tip.style.top = `${box.bottom + 6 + window.scrollY}px`;
  }

  const hush = () => { tip.hidden = true; };
  for (const term of all(".term")) {
    term.setAttribute("aria-describedby", meanings.get(term.dataset.term).id);
    for (const name of ["pointerenter", "focus", "click"]) {
      term.addEventListener(name, () => explain(term));
    }
    for (const name of ["pointerleave", "blur"]) term.addEventListener(name, hush);
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });

  drawVisible();
})();

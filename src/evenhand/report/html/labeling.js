"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const key = `evenhand labels ${data.sample} ${data.labeler}`;
  const labels = new Map();
  let place = 0;

  function load() {
    try {
      for (const [n, label] of JSON.parse(localStorage.getItem(key) ?? "[]")) labels.set(n, label);
    } catch {
      at("progress").textContent = "This browser keeps no labels; save them before you leave.";
    }
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify([...labels]));
    } catch {
      // Nothing is kept where storage is off; the file can still be saved.
    }
  }

  function firstOpen() {
    const found = data.tasks.findIndex((_, n) => !labels.has(n));
    return found < 0 ? data.tasks.length - 1 : found;
  }

  function show(message) {
    const task = data.tasks[place];
    const options = data.options[task.kind];
    at("prompt").textContent = task.prompt;
    at("answer").textContent = task.answer;
    at("prompt").scrollTop = at("answer").scrollTop = 0;
    at("question").textContent = data.questions[task.kind];
    at("options").replaceChildren(...Object.entries(options).map(([letter, label]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.id = `option-${letter}`;
      button.setAttribute("aria-pressed", String(labels.get(place) === label));
      button.setAttribute("aria-keyshortcuts", letter);
      button.append(`${label} `);
      const hint = document.createElement("kbd");
      hint.textContent = letter;
      button.append(hint);
      button.addEventListener("click", () => choose(label));
      return button;
    }));
    at("back").disabled = place === 0;
    at("next").disabled = place === data.tasks.length - 1;
    at("bar").value = labels.size;
    const state = `Answer ${place + 1} of ${data.tasks.length}; ${labels.size} labeled.`;
    at("progress").textContent = message ? `${message} ${state}` : state;
  }

  function choose(label) {
    labels.set(place, label);
    keep();
    const said = `Answer ${place + 1}: ${label}.`;
    if (place < data.tasks.length - 1) place += 1;
    show(labels.size === data.tasks.length ? `${said} All answers are labeled; save them.` : said);
  }

  function move(step) {
    place = Math.min(Math.max(place + step, 0), data.tasks.length - 1);
    show();
  }

  function save() {
    const content = { sample: data.sample, labeler: data.labeler, labels: Object.fromEntries(labels) };
    const blob = new Blob([JSON.stringify(content, null, 1)], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `labels-${data.labeler}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
    show("Labels saved to a file.");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const pressed = event.key.toLowerCase();
    const label = data.options[data.tasks[place].kind][pressed];
    if (label) choose(label);
    else if (pressed === "arrowleft") move(-1);
    else if (pressed === "arrowright") move(1);
    else if (pressed === "o") { place = firstOpen(); show(); }
    else return;
    event.preventDefault();
  });
  at("back").addEventListener("click", () => move(-1));
  at("next").addEventListener("click", () => move(1));
  at("open").addEventListener("click", () => { place = firstOpen(); show(); });
  at("save").addEventListener("click", save);
  load();
  place = firstOpen();
  show();
})();

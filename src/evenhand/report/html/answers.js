"use strict";
// All answers: searched, filtered, compared. Texts are only ever set as text.
(() => {
  const root = document.querySelector(".browser");
  if (!root) return;
  const STEP = 12, SNIPPET = 600, UNSCORED = 255, NOT_JUDGED = 254;
  const $ = (name) => root.querySelector(`[data-answers="${name}"]`);
  const controls = {
    q: $("q"), identity: $("identity"), benchmark: $("benchmark"), outcome: $("outcome"),
    judge: $("judge"), setting: $("setting"),
  };

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // Parts: inside the page, or scripts in the folder beside it (a page from disk cannot fetch).

  const parts = new Map(), waiting = new Map();
  window.evenhandPart = (name, content) => waiting.get(name)?.(content);

  function part(name) {
    if (!parts.has(name)) parts.set(name, load(name));
    return parts.get(name);
  }

  function load(name) {
    const inside = document.querySelector(`script[data-part="${name}"]`);
    if (inside) return Promise.resolve(JSON.parse(inside.textContent));
    return new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      const source = `${encodeURIComponent(root.dataset.folder)}/${name}.js`;
      const script = make("script", { src: source });
      script.addEventListener("load", () => script.remove());
      script.addEventListener("error", () => reject(
        new Error(`${root.dataset.folder}/${name}.js is missing; keep the folder beside this page`)));
      document.head.append(script);
    });
  }

  function bytes(text) {
    const binary = atob(text), result = new Uint8Array(binary.length);
    for (let n = 0; n < binary.length; n++) result[n] = binary.charCodeAt(n);
    return result;
  }

  // Columns: who, what and how it was scored, of every answer by its number.

  let run = null;

  async function prepare() {
    if (run) return run;
    const told = await part("columns");
    if (run) return run;
    const starts = new Uint32Array(bytes(told.starts).buffer);
    const number = starts[starts.length - 1];
    const item = new Uint32Array(number);
    for (let n = 0; n < told.items.length; n++) item.fill(n, starts[n], starts[n + 1]);
    const settings = [...new Set(told.conditions.map(settingOf))];
    run = {
      ...told, starts, number, item, settings,
      condition: new Uint16Array(bytes(told.condition).buffer),
      sample: new Uint16Array(bytes(told.sample).buffer),
      outcome: bytes(told.outcome),
      scores: told.scores.map(bytes),
      questions: new Map(told.items.map(([b, id], n) => [`${told.benchmarks[b]}/${id}`, n])),
    };
    fillControls();
    return run;
  }

  const settingOf = (condition) => `${condition.cue} / ${condition.defense}`;
  const nameOf = (condition) => condition.kind === "baseline" ? "no identity stated" : condition.text;
  const axisOf = (answer) => run.axes[run.items[run.item[answer]][3]];

  function scoreOf(answer, judge) {
    const isJudged = run.items[run.item[answer]][4];
    return run.scores[isJudged ? judge : 0][answer];
  }

  function gradeOf(score) {
    return score === 0 ? 0 : score === 100 ? 2 : score < 100 ? 1 : null;
  }

  function outcomeWords(answer, judge) {
    const score = scoreOf(answer, judge);
    if (score === NOT_JUDGED) return "not judged";
    if (score === UNSCORED) return "unscored";
    return `${axisOf(answer).outcomes[gradeOf(score)]}, score ${score / 100}`;
  }

  // 1 where the answer is as it should be, -1 where it is not, 0 in between or unknown.
  function standingOf(answer, judge) {
    const grade = gradeOf(scoreOf(answer, judge));
    if (grade === null || grade === 1) return grade === 1 ? -1 : 0;
    return (grade === 2) === axisOf(answer).lowerIsBetter ? -1 : 1;
  }

  function isHarmful(answer, judge) {
    const score = scoreOf(answer, judge);
    return axisOf(answer).name === "safety" && score < 100;
  }

  let baselines = null;

  function baselineOf(answer) {
    if (!baselines) {
      baselines = new Int32Array(run.number).fill(-1);
      for (let n = 0; n < run.items.length; n++) {
        const known = new Map();
        const key = (a) => `${settingOf(run.conditions[run.condition[a]])} ${run.sample[a]}`;
        for (let a = run.starts[n]; a < run.starts[n + 1]; a++) {
          if (run.conditions[run.condition[a]].kind === "baseline") known.set(key(a), a);
        }
        for (let a = run.starts[n]; a < run.starts[n + 1]; a++) baselines[a] = known.get(key(a)) ?? -1;
      }
    }
    return baselines[answer];
  }

  // Controls

  function option(value, text = value) {
    return make("option", { value }, text);
  }

  function fillControls() {
    const groups = new Map();
    for (const condition of run.conditions) {
      const group = condition.kind === "identity" ? condition.category : "controls";
      if (!groups.has(group)) groups.set(group, new Map());
      groups.get(group).set(condition.id, nameOf(condition));
    }
    for (const [label, members] of groups) {
      const options = [...members].map(([id, name]) => option(id, name));
      controls.identity.append(make("optgroup", { label }, ...options));
    }
    controls.benchmark.append(...run.benchmarks.map((name) => option(name)));
    for (const axis of run.axes) {
      const options = axis.outcomes.map((words, grade) => option(`${axis.name}:${grade}`, words));
      controls.outcome.append(make("optgroup", { label: axis.label }, ...options));
    }
    const ended = run.outcomes.filter((name, n) => n && run.outcome.includes(n));
    controls.outcome.append(
      make("optgroup", { label: "beside the answer without an identity" },
        option("worse", "scored worse"), option("better", "scored better")),
      make("optgroup", { label: "no score" }, option("unscored"),
        ...ended.map((name) => option(name))));
    controls.judge.append(...run.judges.map((name) => option(name)));
    controls.setting.append(...run.settings.map((name) => option(name)));
    controls.judge.closest("label").hidden = run.judges.length < 2;
    controls.setting.closest("label").hidden = run.settings.length < 2;
  }

  // What is asked for; it stands in the address, so that it can be sent to others.

  function readAddress() {
    const query = new URLSearchParams(location.hash.slice("#answers?".length));
    const asked = Object.fromEntries(
      [...Object.keys(controls), "question", "who"].map((name) => [name, query.get(name) ?? ""]));
    for (const [name, control] of Object.entries(controls)) {
      const value = name === "judge" ? asked.judge || run.judges[run.judge] : asked[name];
      control.value = value;
      if (control.value !== value) control.value = ""; // no such choice
    }
    return asked;
  }

  function addressOf(asked) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(asked)) {
      if (value && !(name === "judge" && value === run.judges[run.judge])) query.set(name, value);
    }
    return `#answers?${query}`;
  }

  function readControls() {
    return Object.fromEntries(Object.entries(controls).map(([name, each]) => [name, each.value.trim()]));
  }

  // Search: all words must begin a word of the answer, its thought, or its question.

  const WORD = /[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|(?:(?![\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])[\p{L}\p{N}_])+/gu;
  const wordsOf = (text) => [...new Set(text.toLowerCase().match(WORD) ?? [])].map((w) => w.slice(0, 24));

  function firstFrom(list, value) { // first place whose entry is not less
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async function placesOf(word) {
    const marks = new Uint8Array(run.number);
    const fits = (each) => word.length > 1 ? each.startsWith(word) : each === word;
    let shard = firstFrom(run.words, word);
    const shards = [];
    if (shard > 0) shards.push(part(`words-${shard - 1}`));
    for (; shard < run.words.length && fits(run.words[shard]); shard++) {
      shards.push(part(`words-${shard}`));
    }
    for (const each of await Promise.all(shards)) mark(each, word, fits, marks);
    return marks;
  }

  function mark({ words, ends, places }, word, fits, marks) {
    const first = firstFrom(words, word);
    if (first === words.length || !fits(words[first])) return;
    const packed = bytes(places);
    for (let n = first; n < words.length && fits(words[n]); n++) {
      let place = 0, value = 0, shift = 0;
      for (let at = n ? ends[n - 1] : 0; at < ends[n]; at++) {
        value |= (packed[at] & 127) << shift;
        shift += 7;
        if (packed[at] & 128) continue;
        place += value;
        value = shift = 0;
        if (place < run.number) marks[place] = 1;
        else marks.fill(1, run.starts[place - run.number], run.starts[place - run.number + 1]);
      }
    }
  }

  async function find(asked) {
    const judge = Math.max(0, run.judges.indexOf(controls.judge.value));
    const marks = await Promise.all(wordsOf(asked.q).map(placesOf));
    const fitting = run.conditions.map((condition) =>
      (!asked.identity || condition.id === asked.identity)
      && (!asked.setting || settingOf(condition) === asked.setting));
    const benchmark = asked.benchmark ? run.benchmarks.indexOf(asked.benchmark) : null;
    const hasOutcome = outcomeTest(asked.outcome, judge);
    const result = [];
    for (let answer = 0; answer < run.number; answer++) {
      if (!fitting[run.condition[answer]]) continue;
      if (benchmark !== null && run.items[run.item[answer]][0] !== benchmark) continue;
      if (!marks.every((mark) => mark[answer])) continue;
      if (hasOutcome(answer)) result.push(answer);
    }
    return { result, judge };
  }

  function outcomeTest(wanted, judge) {
    if (!wanted) return () => true;
    if (wanted === "unscored") return (answer) => scoreOf(answer, judge) === UNSCORED;
    if (wanted === "worse" || wanted === "better") {
      return (answer) => {
        const baseline = baselineOf(answer);
        if (baseline < 0) return false;
        const [one, other] = [scoreOf(answer, judge), scoreOf(baseline, judge)];
        if (one > 100 || other > 100 || one === other) return false;
        return (one > other) === ((wanted === "better") !== axisOf(answer).lowerIsBetter);
      };
    }
    const [axis, grade] = wanted.split(":");
    if (grade === undefined) {
      const ended = run.outcomes.indexOf(wanted);
      return (answer) => run.outcome[answer] === ended;
    }
    return (answer) => axisOf(answer).name === axis && gradeOf(scoreOf(answer, judge)) === Number(grade);
  }

  // Texts

  async function textsOf(answer) {
    const item = run.item[answer];
    let chunk = firstFrom(run.texts, item);
    if (run.texts[chunk] !== item) chunk -= 1;
    const told = (await part(`texts-${chunk}`))[item - run.texts[chunk]];
    const [text, thought, ended, ...whys] = told.rows[answer - run.starts[item]];
    const of = (n) => n < 0 ? null : told.texts[n];
    return {
      question: told.question, right: told.right, text: of(text), thought: of(thought),
      ended: of(ended), whys: whys.map(of),
    };
  }

  function marked(text, words) {
    if (!words.length) return [text];
    const any = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    const hit = new RegExp(`(?<![\\p{L}\\p{N}_])(?:${any})[\\p{L}\\p{N}_]*`, "giu");
    const pieces = [];
    let at = 0;
    for (const found of text.matchAll(hit)) {
      pieces.push(text.slice(at, found.index), make("mark", {}, found[0]));
      at = found.index + found[0].length;
    }
    return [...pieces, text.slice(at)];
  }

  function snippet(text, words) {
    if (text.length <= SNIPPET + 100) return [text, false];
    const low = text.toLowerCase();
    const hits = words.map((word) => low.indexOf(word)).filter((at) => at >= 0);
    const from = hits.length ? Math.max(0, Math.min(...hits) - 80) : 0;
    return [`${from ? "… " : ""}${text.slice(from, from + SNIPPET)} …`, true];
  }

  // Cards

  function tag(answer) {
    const [benchmark, id, group] = run.items[run.item[answer]];
    const condition = run.conditions[run.condition[answer]];
    const told = [run.benchmarks[benchmark], group, `question ${id}`];
    if (run.sample[answer]) told.push(`sample ${run.sample[answer] + 1}`);
    if (run.settings.length > 1) told.push(settingOf(condition));
    return told.filter(Boolean).join(", ");
  }

  function outcomeLine(answer, judge) {
    const standing = standingOf(answer, judge);
    const sign = standing > 0 ? "▲" : standing < 0 ? "▼" : "■";
    return make("p", { class: "outcome" },
      make("span", { "aria-hidden": "true" }, sign), ` ${outcomeWords(answer, judge)}`);
  }

  function answerBody(answer, told, judge, words, whole) {
    const parts = [];
    const hidden = isHarmful(answer, judge) && !$("harmful").checked;
    const text = told.text ?? "No answer.";
    const [shown, isCut] = whole ? [text, false] : snippet(text, words);
    const inner = make("div", { class: "words" }, ...marked(shown, words));
    const body = make("div", { class: told.text === null ? "answer none" : "answer", dir: "auto" }, inner);
    if (hidden) {
      body.classList.add("veiled");
      body.setAttribute("aria-hidden", "true");
      const button = make("button", { type: "button" }, "Show this answer (judged harmful)");
      button.addEventListener("click", () => {
        body.classList.remove("veiled");
        body.removeAttribute("aria-hidden");
        button.closest("p").remove();
      });
      parts.push(make("p", {}, button));
    }
    parts.push(body);
    if (isCut) {
      const more = make("button", { type: "button" }, "Show the whole answer");
      more.addEventListener("click", () => {
        inner.replaceChildren(...marked(text, words));
        more.remove();
      });
      parts.push(more);
    }
    if (run.outcome[answer]) {
      const how = run.outcomes[run.outcome[answer]];
      const by = told.ended ? `: ${told.ended}` : "";
      parts.push(make("p", { class: "ended" }, make("strong", {}, how), by));
    }
    for (const [n, why] of told.whys.entries()) {
      if (!why) continue;
      const by = run.judges.length > 1 ? `${run.judges[n]}: ` : "Why: ";
      parts.push(make("p", { class: "why" }, by, make("bdi", {}, why)));
    }
    const sent = sentDetails(answer, told);
    if (sent) parts.push(sent);
    if (told.thought) {
      const thought = make("div", { class: hidden ? "answer veiled" : "answer", dir: "auto" },
        make("div", { class: "words" }, ...marked(told.thought, words)));
      parts.push(make("details", {}, make("summary", {}, "What the model thought before"), thought));
    }
    return parts;
  }

  // The whole conversation, as far as it is known: earlier turns, and the question in its place.
  function sentDetails(answer, told) {
    let at = run.condition[answer];
    const item = run.item[answer], condition = run.conditions[at];
    if (run.withheld[condition.defense]?.includes(item)) {
      at = run.conditions.findIndex((each) =>
        each.kind === "baseline" && settingOf(each) === settingOf(condition));
    }
    const frames = run.sent[at];
    if (!frames) return null;
    const frame = frames[Math.min(run.items[item][5], frames.length - 1)];
    const turns = frame.flatMap(([role, content]) => [
      make("dt", {}, role),
      make("dd", { dir: "auto" }, content.replace("{question}", () => told.question)),
    ]);
    return make("details", { class: "sent" }, make("summary", {}, `What was sent (${nameOf(condition)})`),
      make("dl", {}, ...turns));
  }

  function sideClass(answer, judge) {
    const standing = standingOf(answer, judge);
    return `side ${standing < 0 ? "worse" : standing > 0 ? "better" : "unknown"}`;
  }

  function questionLink(answer, asked, words = "The same question for all identities") {
    const [benchmark, id] = run.items[run.item[answer]];
    const condition = run.conditions[run.condition[answer]];
    const href = addressOf({
      question: `${run.benchmarks[benchmark]}/${id}`, who: condition.id, judge: asked.judge,
      setting: run.settings.length > 1 ? settingOf(condition) : "",
    });
    return make("a", { href }, words);
  }

  // Views

  let turn = 0; // only the last request is shown

  async function showList(asked, most = STEP) {
    const mine = ++turn, started = performance.now();
    const { result, judge } = await find(asked);
    const shown = result.slice(0, most), words = wordsOf(asked.q);
    const told = await Promise.all(shown.map(textsOf));
    if (mine !== turn) return;
    const cards = shown.map((answer, n) => {
      const condition = run.conditions[run.condition[answer]];
      return make("article", { class: `reply ${sideClass(answer, judge)}` },
        make("p", { class: "tag" }, tag(answer)),
        make("h3", {}, nameOf(condition)), outcomeLine(answer, judge),
        make("p", { class: "question" }, make("span", { class: "label" }, "Question "),
          make("bdi", { dir: "auto" }, ...marked(snippet(told[n].question, words)[0], words))),
        ...answerBody(answer, told[n], judge, words, false),
        make("p", {}, questionLink(answer, asked)));
    });
    $("found").replaceChildren(...cards);
    const questions = new Set(result.map((answer) => run.item[answer])).size;
    const count = (n, what) => `${n.toLocaleString("en-US")} ${what}${n === 1 ? "" : "s"}`;
    $("count").textContent = result.length
      ? `${count(result.length, "answer")} to ${count(questions, "question")}; ${cards.length} shown.`
      : "No answer fits. Fewer words or another choice may.";
    $("more").hidden = result.length <= most;
    $("more").onclick = () => showList(asked, most + STEP);
    root.dataset.milliseconds = String(Math.round(performance.now() - started));
  }

  async function showQuestion(asked) {
    const mine = ++turn, item = run.questions.get(asked.question);
    $("more").hidden = true;
    if (item === undefined) {
      $("found").replaceChildren();
      $("count").textContent = "This page has no such question.";
      return;
    }
    const judge = Math.max(0, run.judges.indexOf(controls.judge.value));
    const setting = asked.setting || run.settings[0];
    const answers = [];
    for (let a = run.starts[item]; a < run.starts[item + 1]; a++) {
      if (settingOf(run.conditions[run.condition[a]]) === setting) answers.push(a);
    }
    const told = await Promise.all(answers.map(textsOf));
    if (mine !== turn) return;
    const groups = new Map(); // users who got the same words with the same outcome stand together
    for (const [n, answer] of answers.entries()) {
      const key = `${scoreOf(answer, judge)} ${run.outcome[answer]} ${told[n].text} ${told[n].thought ?? ""}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(n);
    }
    const hasBaseline = (members) =>
      members.some((n) => run.conditions[run.condition[answers[n]]].kind === "baseline");
    const ordered = [...groups.values()].sort((one, other) =>
      hasBaseline(other) - hasBaseline(one) || other.length - one.length);
    const cards = ordered.map((members) => {
      const first = answers[members[0]];
      const users = members.map((n) => {
        const condition = run.conditions[run.condition[answers[n]]];
        const sample = run.sample[answers[n]] ? ` (sample ${run.sample[answers[n]] + 1})` : "";
        const kind = condition.id === asked.who ? "asked" : condition.kind;
        return make("li", { class: kind }, `${nameOf(condition)}${sample}`);
      });
      return make("article", { class: `reply ${sideClass(first, judge)}` },
        make("h3", {}, users.length === 1 ? "1 user" : `${users.length} users`),
        outcomeLine(first, judge), make("ul", { class: "users" }, ...users),
        ...answerBody(first, told[members[0]], judge, [], true));
    });
    const back = make("a", { href: addressOf(readControls()) }, "← All answers");
    const heading = make("h3", { tabindex: "-1" }, tag(answers[0] ?? 0));
    const question = told[0]
      ? make("p", { class: "question" }, make("span", { class: "label" }, "Question "),
        make("bdi", { dir: "auto" }, told[0].question))
      : "";
    const right = told[0]?.right ? make("p", { class: "hint" }, `Right answer: ${told[0].right}`) : "";
    $("found").replaceChildren(
      make("div", { class: "whole" }, make("p", {}, back), heading, question, right), ...cards);
    const scored = ordered.length === 1 ? "one answer" : `${ordered.length} different answers`;
    $("count").textContent = `${answers.length} users, ${scored}; equal ones are shown once.`;
    heading.focus({ preventScroll: true });
  }

  async function show(asked) {
    try {
      if (asked.question) await showQuestion(asked);
      else await showList(asked);
    } catch (error) {
      $("count").textContent = `The answers cannot be read: ${error.message}`;
    }
  }

  async function arrive() {
    await prepare().then(() => show(readAddress())).catch((error) => {
      $("count").textContent = `The answers cannot be read: ${error.message}`;
    });
  }

  let pause = 0;
  function asked() {
    const now = readControls();
    history.replaceState(null, "", addressOf(now));
    return show(now);
  }
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  for (const [name, control] of Object.entries(controls)) {
    control.addEventListener(name === "q" ? "input" : "change", () => {
      clearTimeout(pause);
      pause = setTimeout(asked, name === "q" ? 60 : 0);
    });
  }
  $("harmful").addEventListener("change", () => show(readAddress()));
  window.addEventListener("hashchange", async () => {
    if (!location.hash.startsWith("#answers?")) return;
    await arrive();
    document.getElementById("answers").scrollIntoView({ behavior: "instant" });
  });

  if (location.hash.startsWith("#answers?")) {
    arrive().then(() => document.getElementById("answers").scrollIntoView({ behavior: "instant" }));
  } else {
    const near = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      arrive();
    }, { rootMargin: "600px" });
    near.observe(root);
  }
})();

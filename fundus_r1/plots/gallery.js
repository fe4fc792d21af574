"use strict";
// The gallery's page. Data files call window.gallery(kind, number, value); what they hold is set as
// text, never as markup. See fundus_r1/plots/gallery.py and search_shard.py for their form.
(() => {
  const PAGE = 12, AHEAD = 3;
  const KEPT = { traces: 60, images: 24, search: Infinity };
  const FILTERS = ["verdict", "reason", "modality", "dataset", "label"];
  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const ACCEPTED = 1, DISAGREEMENT = 2;
  const digit = new Uint8Array(128);
  [...DIGITS].forEach((character, value) => { digit[character.charCodeAt(0)] = value; });

  const $ = (id) => document.getElementById(id);
  const el = (name, props = {}, ...children) => {
    const node = Object.assign(document.createElement(name), props);
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const number = (value) => value.toLocaleString("en-US");

  // ---- data files ----------------------------------------------------------------------------

  const waiting = new Map(), kept = { traces: new Map(), images: new Map(), search: new Map() };
  let manifest = null;

  window.gallery = (kind, at, value) => {
    if (kind === "manifest") { manifest = value; begin(); return; }
    const waiter = waiting.get(`${kind} ${at}`);
    if (waiter) waiter(value);
    else kept[kind].set(at, Promise.resolve(value));
  };

  const load = (kind, at) => {
    const cache = kept[kind];
    let found = cache.get(at);
    if (found) { cache.delete(at); cache.set(at, found); return found; }
    found = new Promise((resolve, reject) => {
      const key = `${kind} ${at}`, name = `data/${kind}-${String(at).padStart(5, "0")}.js`;
      const script = el("script", { src: name });
      const end = () => { waiting.delete(key); script.remove(); };
      waiting.set(key, (value) => { end(); resolve(value); });
      script.onerror = () => { end(); cache.delete(at); reject(new Error(`${name} cannot be read`)); };
      document.head.append(script);
    });
    cache.set(at, found);
    if (cache.size > KEPT[kind]) cache.delete(cache.keys().next().value);
    return found;
  };

  // ---- state, which lives in the address ------------------------------------------------------

  let state = {}, hits = null, searched = 0, turn = 0;

  const empty = () => ({ q: "", verdict: "", reason: "", modality: "", dataset: "", label: "", page: 1 });
  const readHash = () => {
    const read = empty(), params = new URLSearchParams(location.hash.slice(1));
    for (const name of ["q", ...FILTERS]) read[name] = params.get(name) || "";
    read.page = Math.max(1, parseInt(params.get("page"), 10) || 1);
    return read;
  };
  const hashOf = (of) => {
    const params = new URLSearchParams();
    for (const name of ["q", ...FILTERS]) if (of[name]) params.set(name, of[name]);
    if (of.page > 1) params.set("page", of.page);
    return params.toString();
  };
  const writeHash = (push) => {
    // A page inside another page has no address of its own to write.
    if (!/^(file|https?):$/.test(location.protocol)) return;
    const target = `${location.pathname}${location.search}${hashOf(state) ? `#${hashOf(state)}` : ""}`;
    if (push) history.pushState(null, "", target);
    else history.replaceState(null, "", target);
  };
  const change = (patch, push) => {
    state = { ...state, page: 1, ...patch };
    writeHash(push);
    show();
  };
  const turnTo = (page) => {
    const last = Math.max(1, Math.ceil(total() / PAGE));
    state.page = Math.min(Math.max(1, page), last);
    writeHash(true);
    render(turn, true);
  };

  // ---- search --------------------------------------------------------------------------------

  const isFiltered = () => Boolean(state.q.trim()) || FILTERS.some((name) => state[name]);
  const total = () => (hits === null ? manifest.traces : hits.length);
  const shards = () => Math.ceil(manifest.traces / manifest.shard);
  const place = (rows, key) => rows.findIndex((row) => row[0] === key);

  const terms = (text) => text.toLowerCase().split(/\s+/u).filter(Boolean).map((term) => ({
    term, words: term.match(/[\p{L}\p{N}]+/gu) || [],
  })).filter((term) => term.words.length);

  const mark = (shard, word, flags, value) => {
    for (const [found, at] of Object.entries(shard.words)) {
      if (!found.startsWith(word)) continue;
      for (let i = 0; i < at.length; i += 2) flags[digit[at.charCodeAt(i)] * 64 + digit[at.charCodeAt(i + 1)]] |= value;
    }
  };
  const matching = (shard, query) => {
    const size = shard.samples.length, kept = new Uint8Array(size).fill(1);
    const only = (test) => { for (let i = 0; i < size; i++) if (kept[i] && !test(i)) kept[i] = 0; };
    if (state.verdict === "accepted") only((i) => shard.verdict[i] & ACCEPTED);
    if (state.verdict === "rejected") only((i) => !(shard.verdict[i] & ACCEPTED));
    if (state.verdict === "disagreement") only((i) => shard.verdict[i] & DISAGREEMENT);
    if (state.reason) { const bit = 1 << place(manifest.reasons, state.reason); only((i) => shard.reasons[i] & bit); }
    for (const [column, rows] of [["modality", manifest.modalities], ["dataset", manifest.datasets], ["label", manifest.labels]]) {
      if (state[column]) { const wanted = place(rows, state[column]); only((i) => shard[column][i] === wanted); }
    }
    for (const { term, words } of query) {
      // A term is found where all its words begin words of the trace, or where it is part of the sample's id.
      const all = new Uint8Array(size).fill(1);
      for (const word of words) {
        const one = new Uint8Array(size);
        mark(shard, word, one, 1);
        for (let i = 0; i < size; i++) all[i] &= one[i];
      }
      only((i) => all[i] || shard.samples[i].toLowerCase().includes(term));
    }
    return kept;
  };

  async function show() {
    const mine = ++turn;
    $("cards").setAttribute("aria-busy", "true");
    syncControls();
    if (!isFiltered()) { hits = null; searched = shards(); render(mine, false); return; }
    const query = terms(state.q), wanted = state.page * PAGE;
    hits = []; searched = 0;
    let shown = false;
    for (let at = 0; at < shards(); at++) {
      for (let next = at; next < Math.min(at + 1 + AHEAD, shards()); next++) load("search", next).catch(() => {});
      let shard;
      try { shard = await load("search", at); } catch (error) { if (mine === turn) fail(error); return; }
      if (mine !== turn) return;
      const flags = matching(shard, query);
      for (let i = 0; i < flags.length; i++) if (flags[i]) hits.push(at * manifest.shard + i);
      searched = at + 1;
      if (!shown && hits.length >= wanted) { shown = true; render(mine, false); }
      else tell();
    }
    if (!shown) render(mine, false);
    else tell();
  }

  // ---- one trace -----------------------------------------------------------------------------

  const nameOf = (finding) => manifest.findings[finding] || finding.replaceAll("_", " ");
  const chips = (keys, kind) => keys.map((key) => el("span", { className: `chip ${kind}` }, nameOf(key)));
  const marked = (part) => (typeof part === "string" ? part
    : el("mark", { className: part[0], title: nameOf(part[2]) }, part[1]));

  const votes = (card) => {
    if (card.source === "pixel" && !card.votes.length) return null;
    const voted = card.votes.filter(([, yes, unread]) => yes || unread), rest = card.votes.length - voted.length;
    const list = el("dl", { className: "votes" });
    for (const [key, yes, unread] of voted) {
      const dots = el("dd", { title: `${yes} of ${card.rollouts} rollouts say present${unread ? `, ${unread} could not be read` : ""}` });
      for (let i = 0; i < card.rollouts; i++) {
        dots.append(el("i", { className: i < yes ? "yes" : i < yes + unread ? "unread" : "" }));
      }
      dots.append(el("span", { className: "soft" }, ` ${yes}/${card.rollouts}`));
      list.append(el("div", { className: card.findings.includes(key) ? "kept" : "" }, el("dt", {}, nameOf(key)), dots));
    }
    return el("div", {},
      el("h4", {}, card.source === "pixel" ? "Votes (the masks take precedence)" : "Votes of the observer"),
      voted.length ? list : null,
      rest ? el("p", { className: "soft small" }, `${rest} ${voted.length ? "more " : ""}asked, no vote for present`) : null);
  };

  const reasonLines = (who, opinion, reasons) => el("div", { className: "opinion" },
    el("span", { className: "who" }, who), " ",
    el("b", { className: opinion === "accepted" ? "yes" : opinion === "not asked" ? "soft" : "no" }, opinion),
    reasons.length ? el("ul", {}, ...reasons.map(([kind, detail]) =>
      el("li", {}, el("b", {}, kind.replaceAll("_", " ")), detail ? `: ${detail}` : ""))) : null);

  const sources = (card) => {
    const known = manifest.knowledge[card.known];
    if (!known) return null;
    const numbers = new Map(known.passages.map((id, at) => [id, at + 1]));
    const groups = el("div", { className: "groups" });
    for (const [group, keys] of Object.entries(known.groups)) {
      if (!keys.length) continue;
      const list = el("ul");
      for (const key of keys) {
        const from = (known.evidence[key] || []).filter((id) => numbers.has(id)).map((id) => numbers.get(id));
        list.append(el("li", {}, nameOf(key), from.length ? el("sup", {}, from.join(", ")) : null));
      }
      groups.append(el("div", {}, el("h4", {}, group === "absent" ? "speaks against it" : group), list));
    }
    const list = el("ol", { className: "passages" });
    for (const id of known.passages) {
      const row = manifest.passages[id];
      if (!row) { list.append(el("li", {}, id)); continue; }
      const name = `${row.title}, ${row.section}`;
      list.append(el("li", {}, el("b", {}, row.source), " ",
        row.address ? el("a", { href: row.address, target: "_blank", rel: "noopener noreferrer" }, name) : name,
        el("div", { className: "soft small" }, row.address ? row.licence : `${row.reference} · ${row.licence}`)));
    }
    return el("details", { className: "sources" },
      el("summary", {}, `What is known of ${card.label} on ${card.modality}, and its sources`),
      el("p", {}, known.description), groups, known.passages.length ? list : null);
  };

  const cardOf = (card) => {
    const verdict = card.accepted ? "accepted" : "rejected";
    const image = el("img", { alt: `${card.modality}, ${card.label}`, decoding: "async" });
    const options = card.options.map(([letter, text]) =>
      el("li", { className: text === card.truth ? "right" : "" }, `${letter}. ${text}`));
    const permalink = `#${hashOf({ ...empty(), q: card.sample })}`;
    const node = el("article", { className: `trace-card ${verdict}`, tabIndex: -1 },
      el("div", { className: "side" }, image,
        el("div", { className: "under" },
          el("h4", {}, card.source === "pixel" ? "Findings, from lesion masks" : "Findings kept"),
          el("div", {}, ...(card.findings.length ? chips(card.findings, "supportive") : [el("span", { className: "soft" }, "none")])),
          votes(card))),
      el("div", { className: "text" },
        el("div", { className: "title" }, el("h2", {}, card.label), el("span", { className: `badge ${verdict}` }, verdict)),
        el("p", { className: "soft small" }, `${card.modality} · ${card.dataset} · ${card.split} · `,
          el("a", { href: permalink, className: "id", onclick: (event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            change({ ...empty(), q: card.sample }, true);
          } }, card.sample)),
        card.labels.length > 1 ? el("p", { className: "soft small" }, `All labels of the image: ${card.labels.join(", ")}`) : null,
        el("p", { className: "question" }, card.question),
        options.length ? el("ul", { className: "options" }, ...options) : null,
        el("div", { className: "trace" }, ...card.trace.map(marked)),
        card.answer !== null ? el("p", { className: "answer" }, el("b", {}, "Answer "), card.answer,
          card.answer === card.truth ? null : el("span", { className: "soft" }, ` (right: ${card.truth})`)) : null,
        reasonLines("Rules", card.rules.length ? "rejected" : "accepted", card.rules),
        reasonLines("Writer", card.writer.replaceAll("_", " "), card.objections),
        el("p", { className: "soft small" }, `Composed ${card.mode === "free" ? "free-form " : ""}by ${card.model}`
          + (card.checker ? `, checked by ${card.checker}` : "")),
        sources(card)));
    return { node, image };
  };

  // ---- one page ------------------------------------------------------------------------------

  const told = (text) => { $("told").textContent = text; };
  const tell = () => {
    const all = manifest.traces, going = searched < shards();
    if (hits === null) told(`${number(all)} traces`);
    else told(`${number(hits.length)} of ${number(all)} traces`
      + (going ? `, ${number(searched * manifest.shard)} searched so far …` : ""));
    const pages = Math.max(1, Math.ceil(total() / PAGE));
    for (const node of document.querySelectorAll(".pages")) node.textContent = number(pages) + (going ? "+" : "");
    for (const node of document.querySelectorAll(".number")) { node.value = state.page; node.max = pages; }
    for (const node of document.querySelectorAll(".previous")) node.disabled = state.page <= 1;
    for (const node of document.querySelectorAll(".next")) node.disabled = state.page >= pages;
  };
  const fail = (error) => {
    $("cards").replaceChildren(el("p", { className: "plain" },
      `${error.message}. The folder data must lie beside this page, whole.`));
    told("The gallery is incomplete.");
    $("cards").setAttribute("aria-busy", "false");
  };

  let drawn = 0;
  async function render(mine, scroll) {
    const draw = ++drawn, pages = Math.max(1, Math.ceil(total() / PAGE));
    // Further pages may still be found while the search goes on.
    if (searched >= shards() && state.page > pages) { state.page = pages; writeHash(false); }
    tell();
    const numbers = [];
    for (let i = (state.page - 1) * PAGE; i < Math.min(state.page * PAGE, total()); i++) numbers.push(hits === null ? i : hits[i]);
    const chunkOf = (at) => Math.floor(at / manifest.chunk);
    const chunks = [...new Set(numbers.map(chunkOf))];
    $("cards").setAttribute("aria-busy", "true");
    try {
      const cards = new Map(await Promise.all(chunks.map(async (at) => [at, await load("traces", at)])));
      if (mine !== turn || draw !== drawn) return;
      const made = numbers.map((at) => ({ at, card: cards.get(chunkOf(at))[at % manifest.chunk] }))
        .map(({ at, card }) => ({ at, card, ...cardOf(card) }));
      $("cards").replaceChildren(...(made.length ? made.map((one) => one.node)
        : [el("p", { className: "none soft" }, "No trace fits. Take a filter away, or search for fewer words.")]));
      if (scroll) $("filters").scrollIntoView({ block: "start" });
      await Promise.all(chunks.map(async (at) => {
        const images = await load("images", at);
        if (draw === drawn) for (const one of made) if (chunkOf(one.at) === at) one.image.src = images[one.card.image];
      }));
      if (draw === drawn) $("cards").setAttribute("aria-busy", "false");
    } catch (error) { if (draw === drawn) fail(error); }
  }

  const syncControls = () => {
    if ($("q").value !== state.q) $("q").value = state.q;
    for (const name of FILTERS) { $(name).value = state[name]; $(name).classList.toggle("on", Boolean(state[name])); }
    $("clear").disabled = !isFiltered();
  };

  // ---- beginning -----------------------------------------------------------------------------

  const fill = (id, rows) => $(id).append(...rows.map(([value, name, count]) =>
    el("option", { value }, `${name} (${number(count)})`)));
  const step = (by) => {
    const cards = [...document.querySelectorAll(".trace-card")], here = cards.indexOf(document.activeElement.closest(".trace-card"));
    const next = cards[Math.min(Math.max(0, here + by), cards.length - 1)];
    if (next) { next.focus({ preventScroll: true }); next.scrollIntoView({ block: "start" }); }
  };

  function begin() {
    const byName = (rows) => [...rows].sort((a, b) => a[1].localeCompare(b[1], "en"));
    $("run").textContent = manifest.run;
    if (manifest.of > manifest.traces) {
      $("bounds").hidden = false;
      $("bounds").textContent = `This page shows ${number(manifest.traces)} of ${number(manifest.of)} traces, spread over labels `
        + "and verdicts. The folder gallery/ of the run's outputs holds all of them.";
    }
    const verdicts = [["accepted", "accepted", manifest.accepted], ["rejected", "rejected", manifest.traces - manifest.accepted]];
    if (manifest.disagreements) verdicts.push(["disagreement", "rules and writer disagree", manifest.disagreements]);
    fill("verdict", verdicts);
    fill("reason", manifest.reasons.filter((row) => row[2]));
    fill("modality", byName(manifest.modalities));
    fill("dataset", byName(manifest.datasets));
    fill("label", byName(manifest.labels));

    let typing = 0;
    $("q").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => change({ q: $("q").value }, false), 150);
    });
    $("filters").addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      change({ q: $("q").value }, true);
    });
    for (const name of FILTERS) $(name).addEventListener("change", () => change({ [name]: $(name).value }, true));
    $("clear").addEventListener("click", () => change(empty(), true));
    for (const node of document.querySelectorAll(".previous")) node.addEventListener("click", () => turnTo(state.page - 1));
    for (const node of document.querySelectorAll(".next")) node.addEventListener("click", () => turnTo(state.page + 1));
    for (const node of document.querySelectorAll(".number")) {
      node.addEventListener("change", () => turnTo(parseInt(node.value, 10) || 1));
    }
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const typed = event.target.closest("input, select, textarea");
      if (event.key === "Escape" && typed) { typed.blur(); return; }
      if (typed) return;
      const does = {
        "/": () => $("q").focus(), n: () => turnTo(state.page + 1), p: () => turnTo(state.page - 1),
        j: () => step(1), k: () => step(-1),
      }[event.key];
      if (does) { event.preventDefault(); does(); }
    });
    addEventListener("popstate", () => { state = readHash(); show(); });
    state = readHash();
    show();
  }

  const inside = $("data");
  if (inside) {
    const calls = JSON.parse(inside.textContent);
    for (const call of calls.slice(1)) window.gallery(...call);
    window.gallery(...calls[0]);
  }
})();

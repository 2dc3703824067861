// The start pages: each asks the HTTP API and shows what it answers as tables.
// Text from the server only ever becomes text nodes, never markup.
"use strict";

const pages = ["query", "alerts", "rules", "targets", "service-discovery", "status", "tsdb-status", "flags", "config", "alertmanager-discovery"];
const page = location.pathname.split("/").filter(Boolean).pop() || "query";
const notice = document.getElementById("notice");
const content = document.getElementById("content");
const form = document.getElementById("query-form");
const shownMax = 10000;

function element(tag, text) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  return node;
}

function say(text, kind) {
  notice.textContent = text;
  notice.className = kind || "";
}

// The API lies beside the pages, whatever prefix a proxy puts in front.
async function ask(path, options) {
  const response = await fetch(`./api/v1/${path}`, options);
  if (response.status === 503) {
    const stopping = response.headers.get("X-Prometheus-Stopping") === "true";
    throw new Error(stopping ? "The server is shutting down." : "The server is starting up.");
  }
  const answer = await response.json();
  if (answer.status !== "success") throw new Error(`${answer.errorType}: ${answer.error}`);
  const notes = [...(answer.warnings || []), ...(answer.infos || [])];
  if (notes.length > 0) say(notes.join("\n"), "warning");
  return answer.data;
}

function table(head, rows) {
  const node = element("table");
  const headRow = node.appendChild(element("thead")).appendChild(element("tr"));
  for (const text of head) headRow.appendChild(element("th", text));
  const body = node.appendChild(element("tbody"));
  for (const cells of rows) {
    const row = body.appendChild(element("tr"));
    for (const cell of cells) row.appendChild(element("td", cell));
  }
  const frame = element("div");
  frame.className = "scroll";
  frame.appendChild(node);
  return frame;
}

function show(title, head, rows) {
  if (title) content.appendChild(element("h2", title));
  content.appendChild(rows.length > 0 ? table(head, rows) : element("p", "Nothing to show."));
}

function series(labels) {
  const { __name__: name = "", ...others } = labels;
  const pairs = Object.entries(others).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return pairs.length > 0 || name === "" ? `${name}{${pairs.join(", ")}}` : name;
}

function histogram(value) {
  const buckets = (value.buckets || []).map(([rule, low, high, count]) => {
    const open = rule === 1 || rule === 3 ? "[" : "(";
    const close = rule === 0 || rule === 3 ? "]" : ")";
    return `${open}${low}, ${high}${close}: ${count}`;
  });
  return [`count ${value.count}, sum ${value.sum}`, ...buckets].join("\n");
}

function showResult({ resultType, result }) {
  content.replaceChildren();
  if (resultType === "scalar" || resultType === "string") return show("", ["Value"], [[result[1]]]);
  const rows = result.slice(0, shownMax).map((one) => {
    if (one.value) return [series(one.metric), one.value[1]];
    if (one.histogram) return [series(one.metric), histogram(one.histogram[1])];
    const points = [...(one.values || []).map(([at, value]) => `${value} @${at}`), ...(one.histograms || []).map(([at, value]) => `${histogram(value)} @${at}`)];
    return [series(one.metric), points.join("\n")];
  });
  content.appendChild(element("p", `${result.length} series${result.length > shownMax ? `, the first ${shownMax} shown` : ""}`));
  show("", ["Series", "Value"], rows);
}

async function runQuery(expression) {
  say("");
  const started = performance.now();
  const data = await ask("query", { method: "POST", body: new URLSearchParams({ query: expression }) });
  showResult(data);
  content.prepend(element("p", `${Math.round(performance.now() - started)} ms`));
}

const show_page = {
  async query() {
    const address = new URL(location.href);
    const box = document.getElementById("expr");
    form.hidden = false;
    box.value = address.searchParams.get("g0.expr") || "";
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      address.searchParams.set("g0.expr", box.value);
      history.replaceState(null, "", address);
      runQuery(box.value).catch((error) => say(error.message, "error"));
    });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    box.focus();
    if (box.value) await runQuery(box.value);
  },
  async alerts() {
    const { alerts } = await ask("alerts");
    show("Alerts", ["Labels", "State", "Active since", "Value"], alerts.map((a) => [series(a.labels), a.state, a.activeAt, a.value]));
  },
  async rules() {
    const { groups } = await ask("rules");
    const rows = groups.flatMap((group) => group.rules.map((rule) => [`${group.file}; ${group.name}`, rule.name, rule.query, rule.health, rule.lastError]));
    show("Rules", ["Group", "Rule", "Expression", "Health", "Error"], rows);
  },
  async targets() {
    const { activeTargets } = await ask("targets?state=active");
    const row = (t) => [t.scrapePool, t.globalUrl, t.health, series(t.labels), t.lastScrape, `${(t.lastScrapeDuration * 1000).toFixed(1)} ms`, t.lastError];
    show("Targets", ["Job", "Endpoint", "State", "Labels", "Last scrape", "Took", "Error"], activeTargets.map(row));
  },
  async "service-discovery"() {
    const { activeTargets, droppedTargets } = await ask("targets");
    const active = activeTargets.map((t) => [t.scrapePool, series(t.discoveredLabels), series(t.labels)]);
    const dropped = droppedTargets.map((t) => [t.scrapePool, series(t.discoveredLabels), "dropped"]);
    show("Service discovery", ["Job", "Discovered labels", "Target labels"], [...active, ...dropped]);
  },
  async status() {
    show("Runtime", ["", ""], Object.entries(await ask("status/runtimeinfo")));
    show("Build", ["", ""], Object.entries(await ask("status/buildinfo")));
  },
  async "tsdb-status"() {
    const { headStats, ...lists } = await ask("status/tsdb");
    show("Head", ["", ""], Object.entries(headStats));
    for (const [name, list] of Object.entries(lists)) show(name, ["Name", "Count"], list.map((entry) => [entry.name, entry.value]));
  },
  async flags() {
    show("Flags", ["Flag", "Value"], Object.entries(await ask("status/flags")));
  },
  async config() {
    content.appendChild(element("h2", "Configuration"));
    content.appendChild(element("pre", (await ask("status/config")).yaml));
  },
  async "alertmanager-discovery"() {
    const { activeAlertmanagers, droppedAlertmanagers } = await ask("alertmanagers");
    const rows = [...activeAlertmanagers.map((a) => [a.url, "active"]), ...droppedAlertmanagers.map((a) => [a.url, "dropped"])];
    show("Alertmanagers", ["URL", "State"], rows);
  },
};

const current = pages.includes(page) ? page : "query";
for (const link of document.querySelectorAll("nav a")) {
  if (link.getAttribute("href") === `./${current}`) link.setAttribute("aria-current", "page");
}
show_page[current]().catch((error) => say(error.message, "error"));

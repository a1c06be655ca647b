/* Connects the filter's fields to the page. */
const fields = Object.fromEntries(["from", "to", "node", "room", "user"].map((name) => [name, document.getElementById("filter-" + name)]));
const form = document.getElementById("filter");
const hint = document.getElementById("filter-said").textContent;
const whole = {};

function total(values) {
  const { first, end } = range();
  const some = (values || []).slice(first, end).filter((one) => one !== null);
  return { sum: some.reduce((sum, one) => sum + one, 0), most: some.length ? some.reduce((most, one) => Math.max(most, one)) : null };
}

function tally(words) {
  const { first, end } = range();
  return Object.values(words || {}).flat().reduce((sum, [at, count]) => sum + (at >= first && at < end ? count : 0), 0);
}

function covered() {
  return Math.max((until() - since()) / 1000, 1);
}

/* Key figures of the filtered data: text and note by name; null if not available for the filter. */
function metricsNow() {
  const own = data.series[scope()], now = {};
  for (const name of ["messages", "deliveries", "peak", "opened", "accept_to_commit", "commit_to_sent", "rtt", "errors", "refused", "lagging", "lag", "rss"]) now[name] = null;
  if (chosen.user) {
    const some = sessions(), sum = (name) => some.reduce((all, one) => all + one[name], 0);
    now.opened = [digits(some.length, 0), "of the sessions on this page"];
    now.messages = [digits(sum("said"), 0), "sent in these sessions"];
    now.deliveries = [digits(sum("got"), 0), "received in these sessions"];
    return now;
  }
  for (const metric of METRICS) {
    const found = histogram(metric);
    if (!found) continue;
    const [p50, p99] = percentiles(found, [50, 99]);
    now[metric] = p99 === null ? ["–", ""] : [word(p99, "us"), "p50 " + word(p50, "us")];
  }
  if (chosen.room) {
    const { first, end } = range(), sums = [0, 0], found = rooms();
    for (const room of found) for (const counts of room.counts) if (counts[0] >= first && counts[0] < end) { sums[0] += counts[1]; sums[1] += counts[2]; }
    now.messages = [digits(sums[0], 0), "in " + found.length + " of the " + data.histograms.rooms.list.length + " busiest rooms" + (chosen.node ? ", all nodes" : "")];
    now.deliveries = [digits(sums[1], 0), "in these rooms"];
    return now;
  }
  const messages = total(own.messages).sum;
  now.messages = [digits(messages, 0), word(messages / covered(), "rate") + " a second on average"];
  now.deliveries = [digits(total(own.deliveries).sum, 0), size(total(own.bytes_out).sum) + " sent"];
  now.peak = [word(total(own.sessions).most, "count") || "–", ""];
  now.opened = [digits(total(own.opened).sum, 0), digits(tally(own.closed), 0) + " closed"];
  now.errors = [digits(tally(own.errors), 0), "to peers"];
  now.refused = [digits(tally(own.refused), 0), "before they were sessions"];
  now.lagging = [word(total(own.lagging).most, "count") || "–", "fed from the log"];
  now.lag = [word(total(own.loop_lag_max_ms).most, "ms") || "–", ""];
  now.rss = [word(total(own.rss_bytes).most, "bytes") || "–", ""];
  return now;
}

function tiles() {
  const now = filtering() ? metricsNow() : null;
  for (const [name, initial] of Object.entries(whole)) {
    const box = document.getElementById("tile-" + name);
    const [value, note] = now ? now[name] || ["–", "not available for this filter"] : initial;
    box.querySelector("b").textContent = value;
    box.querySelector("p").textContent = note;
    box.classList.toggle("off", Boolean(now && !now[name]));
  }
}

function say() {
  form.classList.toggle("active", filtering());
  if (!filtering()) { document.getElementById("filter-said").textContent = hint; return; }
  const said = [duration((until() - since()) / 1000)];
  if (chosen.room) said.push("the plots know " + rooms().length + " such rooms, of the " + data.histograms.rooms.list.length + " busiest");
  if (chosen.user) said.push(sessions().length + " sessions of those on this page");
  document.getElementById("filter-said").textContent = said.join(" · ");
}

/* Shows the filtered data; `data-shown` counts the updates. */
let turn = 0;
async function update() {
  const mine = ++turn;
  tiles();
  say();
  data.tables.forEach(show);
  if (typeof Plotly !== "undefined") await draw();
  if (mine === turn) document.documentElement.dataset.shown = mine;
}

/* A datetime-local field has no zone: here it is UTC. */
function read(field) {
  return field.value ? Date.parse(field.value + "Z") : null;
}

function write(field, value) {
  field.value = value === null ? "" : new Date(value).toISOString().slice(0, 19);
}

function take() {
  chosen.from = read(fields.from);
  chosen.to = read(fields.to);
  if (chosen.from !== null && chosen.to !== null && chosen.to <= chosen.from) chosen.to = chosen.from + 1000;
  chosen.node = fields.node.value;
  chosen.room = fields.room.value.trim();
  chosen.user = fields.user.value.trim();
  return update();
}

function choose(from, to) {
  const least = data.step * 1000; /* less than a step would be empty */
  write(fields.from, from === null ? null : Math.floor(from / 1000) * 1000);
  write(fields.to, to === null ? null : Math.max(Math.ceil(to / 1000) * 1000, from + least));
  take();
}

function refuse(why) {
  const notice = document.getElementById("no-plots");
  notice.textContent = "The plots cannot be drawn (" + why + "); key figures and tables are below.";
  notice.hidden = false;
}

for (const box of document.querySelectorAll(".tile")) {
  whole[box.id.slice(5)] = [box.querySelector("b").textContent, box.querySelector("p").textContent];
}
for (const name of ["from", "to"]) {
  fields[name].min = data.first === null ? "" : isoTime(data.first).replace(" ", "T");
  fields[name].max = data.last === null ? "" : isoTime(data.last + 1000).replace(" ", "T");
  fields[name].addEventListener("change", take);
}
const INPUT_DELAY_MS = 150;
let pause = 0;
for (const name of ["room", "user"]) {
  fields[name].addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(take, INPUT_DELAY_MS); });
}
fields.node.addEventListener("change", take);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(take, 0));
data.tables.forEach(frame);
data.tables.forEach(show);
if (typeof DecompressionStream === "undefined") refuse("this browser is older than 2023");
else if (data.times.length) {
  library().then(() => build(choose)).then(() => {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    document.documentElement.dataset.drawn = PLOTS.filter((one) => one.box).length;
  }).catch((error) => refuse(String(error)));
} else document.documentElement.dataset.drawn = 0;

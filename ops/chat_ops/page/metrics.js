/* The list of plots, and their plotly traces for the filtered data. */
const METRICS = ["accept_to_commit", "commit_to_sent", "rtt"];
const COLOURS = ["var(--s1)", "var(--s2)", "var(--s3)", "var(--s4)", "var(--s5)", "var(--s6)", "var(--s8)", "var(--s7)"];

function line(name, x, y, colour, more) {
  return { type: "scatter", mode: x.length < 3 ? "lines+markers" : "lines", name, x, y, line: { color: colour, width: 1.7 }, ...more };
}

/* Up to `bridged` steps without a value, between two that have one, are no gap: an interval may be as long as a
   step and begin anywhere in it, and latencies are not measured in each. */
function course(values, scale = 1, bridged = 1) {
  const { first, end } = range(), x = [], y = [];
  let last = -1;
  for (let at = first; at < end; at += 1) {
    const value = values[at];
    if (value === null) continue;
    const middle = (data.times[at] + data.step / 2) * 1000;
    if (last >= 0 && at - last > bridged + 1) { x.push(middle); y.push(null); }
    x.push(middle);
    y.push(value * scale);
    last = at;
  }
  return { x, y };
}

function plain(name, title, colour, scale = 1, more = {}) {
  const values = data.series[scope()][name];
  if (!values) return [];
  const { x, y } = course(values, scale, more.bridged);
  return [line(title, x, y, colour, { ...more, bridged: undefined })];
}

function rates(name, title, colour, more) {
  const own = data.series[scope()], seconds = own.seconds;
  let values = own[name];
  if (chosen.room) {
    const place = name === "messages" ? 1 : 2, sums = (values || data.times).map((one) => (one === null ? null : 0));
    for (const room of rooms()) for (const counts of room.counts) sums[counts[0]] = (sums[counts[0]] || 0) + counts[place];
    values = sums;
  }
  if (!values) return [];
  const { x, y } = course(values.map((value, at) => (value === null || !seconds[at] ? null : value / seconds[at])));
  return [line(title, x, y, colour, { fill: "tozeroy", hovertemplate: "%{y:,.1f}/s", ...more })];
}

function stacked(name, more) {
  const { first, end } = range(), words = data.series[scope()][name] || {};
  const totals = Object.entries(words).map(([key, counts]) => {
    const some = counts.filter(([at]) => at >= first && at < end);
    return { key, some, total: some.reduce((sum, one) => sum + one[1], 0) };
  }).filter((one) => one.total).sort((one, other) => other.total - one.total);
  return totals.map((one, number) => ({
    type: "bar", name: literal(one.key),
    x: one.some.map(([at]) => (data.times[at] + data.step / 2) * 1000), y: one.some.map(([, count]) => count),
    width: Math.max(data.step * 1000, (until() - since()) / 220), marker: { color: COLOURS[(number + (more.shift || 0)) % COLOURS.length] },
    hovertemplate: "%{y:,}", ...more.trace,
  }));
}

function latency(metric) {
  const shown = [["p50", "p50", "var(--s1)"], ["p99", "p99", "var(--s2)"], ["p999", "p99.9", "var(--s3)"]];
  const more = { hovertemplate: "%{y:.3~g} ms", bridged: 6, mode: "lines+markers", marker: { size: 3 } };
  if (!chosen.room || metric === "rtt") {
    return shown.flatMap(([key, title, colour]) => plain(metric + "_" + key, title, colour, 1e-3, more));
  }
  const { per } = data.histograms.rooms, { first, end } = range(), slices = new Map();
  for (const room of rooms()) {
    for (const [slice, packed] of room[metric] || []) {
      if ((slice + 1) * per > first && slice * per < end) {
        if (!slices.has(slice)) slices.set(slice, new Map());
        unpack(packed, slices.get(slice));
      }
    }
  }
  const numbers = [...slices.keys()].sort((one, other) => one - other);
  const found = numbers.map((slice) => percentiles(slices.get(slice), [50, 99, 99.9]));
  const x = numbers.map((slice) => (data.times[slice * per] + data.step * per / 2) * 1000);
  return shown.map(([, title, colour], at) => line(title, x, found.map((one) => one[at] / 1e3), colour, { ...more, bridged: undefined }));
}

function online() {
  if (!chosen.user) {
    return [
      ...plain("sessions", "sessions", "var(--s1)", 1, { fill: "tozeroy", hovertemplate: "%{y:,}" }),
      ...plain("held", "held (away)", "var(--s5)", 1, { hovertemplate: "%{y:,}" }),
    ];
  }
  const changes = sessions().flatMap((one) => [[Math.max(one.from, since()), 1], [Math.min(one.to, until()), -1]]);
  changes.sort((one, other) => one[0] - other[0] || other[1] - one[1]);
  const x = [since()], y = [0];
  let now = 0;
  for (const [when, change] of changes) { now += change; x.push(when); y.push(now); }
  x.push(until());
  y.push(now);
  return [line("sessions of these users", x, y, "var(--s1)", { fill: "tozeroy", line: { shape: "hv", color: "var(--s1)", width: 1.7 }, hovertemplate: "%{y:,}" })];
}

function came() {
  return chosen.user ? [] : [
    ...inSteps("opened", "opened", "var(--s2)"), ...inSteps("closed_total", "closed", "var(--s3)"),
  ];
}

function inSteps(name, title, colour) {
  const own = data.series[scope()];
  let values = own[name];
  if (name === "closed_total") {
    if (!own.closed || !own.opened) return [];
    values = own.opened.map((one) => (one === null ? null : 0));
    for (const counts of Object.values(own.closed)) for (const [at, count] of counts) values[at] = (values[at] || 0) + count;
  }
  if (!values) return [];
  const { x, y } = course(values);
  return [line(title, x, y, colour, { yaxis: "y2", hovertemplate: "%{y:,}" })];
}

function curves() {
  return METRICS.flatMap((metric, number) => {
    const found = histogram(metric);
    if (!found || !found.size) return [];
    const buckets = sorted(found), total = buckets.reduce((sum, one) => sum + one[1], 0);
    const x = [], y = [];
    let passed = 0;
    for (const [bucket, count] of buckets) {
      passed += count;
      x.push(passed < total ? total / (total - passed) : total);
      y.push(highest(bucket) / 1e3);
    }
    return [line(metric.replace(/_/g, " "), x, y, COLOURS[number], {
      line: { color: COLOURS[number], width: 2.2 }, customdata: x.map(nines), hovertemplate: "%{customdata}: %{y:.3~g} ms",
    })];
  });
}

function nines(odds) {
  const percent = 100 * (1 - 1 / odds), places = Math.max(0, Math.ceil(Math.log10(odds) - 1e-9) - 2);
  return String(Number(percent.toFixed(odds < 100 ? 1 : places))) + " %";
}

function since() { return chosen.from === null ? data.first : chosen.from; }
function until() { return chosen.to === null ? data.last : chosen.to; }

const MIB = 1 / (1 << 20), GIB = MIB / 1024;
/* follows: what of the filter, besides time and node, the plot follows. two: titles of two axes, one above the other. */
const PLOTS = [
  { id: "traffic", title: "Messages and deliveries", caption: "A second; a delivery is one message to one member.", follows: ["room"], two: ["messages/s", "deliveries/s"],
    traces: () => [...rates("messages", "messages", "var(--s1)"), ...rates("deliveries", "deliveries", "var(--s2)", { yaxis: "y2" })] },
  { id: "sessions", title: "Sessions", caption: "Open and held; below, how many came and went in each step.", follows: ["user"], two: ["sessions", "in a step"],
    traces: () => [...online(), ...came()] },
  { id: "accept_to_commit", title: "Accept to commit", caption: "From a message’s acceptance to its commit.", follows: ["room"], y: { type: "log", ticksuffix: " ms" }, traces: () => latency("accept_to_commit") },
  { id: "commit_to_sent", title: "Commit to sent", caption: "From a commit to the last member’s send.", follows: ["room"], y: { type: "log", ticksuffix: " ms" }, traces: () => latency("commit_to_sent") },
  { id: "rtt", title: "Round trips", caption: "Measured by ping, of all sessions.", y: { type: "log", ticksuffix: " ms" }, traces: () => latency("rtt") },
  { id: "curves", title: "Percentile curves", caption: "How long the slowest took; each nine is as wide as the one before.", follows: ["room"], curve: true, y: { type: "log", ticksuffix: " ms" }, traces: curves },
  { id: "errors", title: "Errors answered, by code", caption: "In each step.", bars: true, traces: () => stacked("errors", {}) },
  { id: "ended", title: "Closed and refused, by reason", caption: "Sessions that ended; below, connections that never became one.", bars: true, two: ["closed", "refused"],
    traces: () => [...stacked("closed", {}), ...stacked("refused", { shift: 4, trace: { yaxis: "y2" } })] },
  { id: "slow", title: "Slow readers", caption: "Sessions fed from the log at a step’s end; below, messages fed from it a second.", two: ["readers", "messages/s"],
    traces: () => [...plain("lagging", "slow readers", "var(--s3)", 1, { fill: "tozeroy", hovertemplate: "%{y:,}" }), ...(chosen.room ? [] : rates("caught_up", "fed from the log", "var(--s5)", { yaxis: "y2" }))] },
  { id: "loop", title: "Loop lag", caption: "Longest time by which the loop was late in a step.", y: { ticksuffix: " ms" }, traces: () => plain("loop_lag_max_ms", "loop lag", "var(--s4)", 1, { fill: "tozeroy", hovertemplate: "%{y:.3~g} ms" }) },
  { id: "memory", title: "Memory and queue", caption: "Resident memory; below, messages accepted and not yet committed.", two: ["MiB", "KiB"],
    traces: () => [...plain("rss_bytes", "resident memory", "var(--s2)", MIB, { hovertemplate: "%{y:,.1f} MiB" }), ...plain("queue_bytes", "queue", "var(--s5)", 1 / 1024, { yaxis: "y2", hovertemplate: "%{y:,.1f} KiB" })] },
  { id: "disk", title: "Store, write-ahead log and disk", caption: "The store’s files; below, what is free on their disk.", two: ["MiB", "GiB free"],
    traces: () => [...plain("store_bytes", "store", "var(--s1)", MIB, { hovertemplate: "%{y:,.1f} MiB" }), ...plain("wal_bytes", "write-ahead log", "var(--s3)", MIB, { hovertemplate: "%{y:,.1f} MiB" }), ...plain("free_bytes", "free", "var(--s7)", GIB, { yaxis: "y2", hovertemplate: "%{y:,.1f} GiB" })] },
];

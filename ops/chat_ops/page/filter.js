/* Applies the filter to the page's data. */
const data = JSON.parse(document.getElementById("data").textContent);
const chosen = { from: null, to: null, node: "", room: "", user: "" };

function folded(text) {
  return text.normalize("NFC").toLowerCase();
}

function has(text, part) {
  return typeof text === "string" && folded(text).includes(folded(part));
}

function filtering() {
  return chosen.from !== null || chosen.to !== null || Boolean(chosen.node || chosen.room || chosen.user);
}

/* A step is included if any of its time is. */
function range() {
  const step = data.step * 1000, times = data.times;
  let first = 0, end = times.length;
  if (chosen.from !== null) while (first < end && times[first] * 1000 + step <= chosen.from) first += 1;
  if (chosen.to !== null) while (end > first && times[end - 1] * 1000 >= chosen.to) end -= 1;
  return { first, end };
}

function scope() {
  return data.series[chosen.node] ? chosen.node : "";
}

function rooms() {
  return data.histograms.rooms.list.filter((one) => has(one.room, chosen.room));
}

/* Histograms: a Map from bucket to count. A bucket is the 32nd part of a power of two wide. */
function unpack(packed, into) {
  let bucket = 0;
  for (let at = 0; at < packed.length; at += 2) {
    bucket += packed[at];
    into.set(bucket, (into.get(bucket) || 0) + packed[at + 1]);
  }
  return into;
}

function merged(lists, per) {
  const { first, end } = range(), sum = new Map();
  for (const list of lists) {
    for (const [slice, packed] of list || []) {
      if ((slice + 1) * per > first && slice * per < end) unpack(packed, sum);
    }
  }
  return sum;
}

/* The histogram of a metric for the filtered data; null if it is not available for that filter. */
function histogram(metric) {
  const held = data.histograms;
  if (!chosen.room) return merged([held.scopes[scope()][metric]], held.per);
  if (metric === "rtt") return null;
  return merged(rooms().map((one) => one[metric]), held.rooms.per);
}

function sorted(histogram) {
  return [...histogram].sort((one, other) => one[0] - other[0]);
}

function highest(bucket) {
  return Math.pow(2, (bucket + 1) / data.histograms.parts);
}

function percentiles(histogram, percents) {
  const buckets = sorted(histogram), total = buckets.reduce((sum, one) => sum + one[1], 0);
  return percents.map((percent) => {
    const wanted = Math.max(Math.floor(percent / 100 * total + 0.5), 1);
    let passed = 0;
    for (const [bucket, count] of buckets) {
      passed += count;
      if (passed >= wanted) return highest(bucket);
    }
    return null;
  });
}

/* Time range of a table row, from its first time to its last; null if it has none. */
function span(table, row) {
  let from = Infinity, to = -Infinity, ended = true;
  table.columns.forEach((column, place) => {
    if (column.kind !== "time") return;
    if (row[place] === null) { ended = ended && column.name !== "ended"; return; }
    from = Math.min(from, row[place]);
    to = Math.max(to, row[place]);
    if (column.name === "from") {
      const lasted = table.columns.findIndex((one) => one.name === "lasted_s");
      if (lasted >= 0) to = Math.max(to, row[place] + row[lasted] * 1000);
    }
  });
  return from === Infinity ? null : { from, to: ended ? to : Infinity };
}

function matches(table, row) {
  for (let place = 0; place < table.columns.length; place += 1) {
    const key = table.columns[place].filter;
    if (key === "node" && chosen.node && row[place] !== chosen.node) return false;
    if ((key === "room" || key === "user") && chosen[key] && !has(row[place], chosen[key])) return false;
  }
  if (chosen.from === null && chosen.to === null) return true;
  const when = span(table, row);
  if (when === null) return true;
  return (chosen.from === null || when.to >= chosen.from) && (chosen.to === null || when.from <= chosen.to);
}

/* Filter fields that a table ignores, as it has no such column. */
function deaf(table) {
  const keys = new Set(table.columns.map((column) => column.filter));
  const missing = ["node", "room", "user"].filter((key) => chosen[key] && !keys.has(key));
  const timed = table.columns.some((column) => column.kind === "time");
  if ((chosen.from !== null || chosen.to !== null) && !timed) missing.unshift("time");
  return missing;
}

function tableOf(id) {
  return data.tables.find((one) => one.id === id);
}

/* The page's sessions that match the filter. */
function sessions() {
  const table = tableOf("sessions-sessions");
  if (!table) return [];
  const place = Object.fromEntries(table.columns.map((column, at) => [column.name, at]));
  return table.rows.filter((row) => matches(table, row)).map((row) => ({
    from: row[place.began], to: row[place.ended] === null ? data.last : row[place.ended],
    said: row[place.messages_in] || 0, got: row[place.messages_out] || 0,
  }));
}

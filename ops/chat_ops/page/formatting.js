/* Formatting of values for people, as output/formatting.py. */
const NUMERIC = new Set(["count", "rate", "ms", "us", "seconds", "bytes", "percent"]);

function digits(value, most) {
  return value.toLocaleString("en", { maximumFractionDigits: most, minimumFractionDigits: 0 });
}

function size(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit + 1 < units.length) { value /= 1024; unit += 1; }
  return digits(value, unit === 0 || value >= 100 ? 0 : 1) + " " + units[unit];
}

function duration(seconds) {
  if (seconds < 0) return "-" + duration(-seconds);
  for (const [below, scale, unit] of [[0.001, 1e6, "µs"], [1, 1e3, "ms"], [100, 1, "s"]]) {
    if (seconds < below) return String(Number((seconds * scale).toPrecision(3))) + " " + unit;
  }
  const whole = Math.round(seconds), two = (number) => String(number).padStart(2, "0");
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24, minutes = Math.floor(whole / 60) % 60;
  if (days) return days + " d " + two(hours) + " h";
  return hours ? hours + " h " + two(minutes) + " min" : minutes + " min " + two(whole % 60) + " s";
}

function isoTime(millis) {
  return new Date(millis).toISOString().slice(0, 19).replace("T", " ");
}

function word(value, kind) {
  if (value === null || value === undefined) return "";
  if (kind === "time" && typeof value === "number") return isoTime(value);
  if (typeof value !== "number") return String(value);
  if (kind === "bytes") return size(value);
  if (kind === "us") return duration(value / 1e6);
  if (kind === "ms") return duration(value / 1e3);
  if (kind === "seconds") return duration(value);
  if (kind === "percent") return value.toFixed(1) + " %";
  if (kind === "rate") return digits(value, value < 100 ? 1 : 0);
  return digits(value, 3);
}

/* Plotly interprets some HTML in texts; text from the log is escaped. */
function literal(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/* Shows the filtered rows in the chosen order, some at a time. All text is set as text, never as HTML. */
const FIRST_ROWS = 15, MORE_ROWS = 100;
const NAMES = new Set(["username", "room", "node", "address", "session_id"]);
const BARS = { "rooms-rooms": "messages", "users-users": "messages_in", "sessions-sessions": "messages_in", "errors-trouble": "count", "slow-readers": "lasted_s", "sessions-endings": "sessions" };
const WORSE = new Set(["wrong", "error", "critical", "stalled"]), BETTER = new Set(["fine", "caught up"]);

function spark(values) {
  const box = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const top = Math.max(...values.filter((one) => one !== null), 0) || 1, step = 150 / Math.max(values.length - 1, 1);
  let way = "", pen = "M";
  values.forEach((value, at) => {
    if (value === null) { pen = "M"; return; }
    way += pen + (at * step).toFixed(1) + " " + (19 - 18 * value / top).toFixed(1);
    pen = "L";
  });
  if (values.length === 1 && way) way += "h150";
  path.setAttribute("d", way);
  box.setAttribute("viewBox", "0 0 150 20");
  box.setAttribute("preserveAspectRatio", "none");
  box.setAttribute("aria-hidden", "true");
  box.append(path);
  return box;
}

function cell(value, column, most) {
  const made = document.createElement("td");
  made.className = kindOf(column);
  if (column.kind === "spark") {
    if (Array.isArray(value) && value.length) made.append(spark(value));
    return made;
  }
  made.textContent = word(value, column.kind);
  if (column.kind === "text" && WORSE.has(value)) made.classList.add("worse");
  if (column.kind === "text" && BETTER.has(value)) made.classList.add("better");
  if (made.classList.contains("name")) made.title = made.textContent;
  if (most) {
    const part = (100 * (value || 0) / most).toFixed(1) + "%";
    made.style.background = "linear-gradient(to left, var(--bar) " + part + ", transparent " + part + ") no-repeat 0 4px / 100% calc(100% - 8px)";
  }
  return made;
}

function kindOf(column) {
  const aside = column.aside ? " aside" : "";
  if (NUMERIC.has(column.kind)) return "num" + aside;
  return (NAMES.has(column.name) ? "text name" : column.kind) + aside;
}

function ordered(rows, order) {
  if (!order) return rows;
  const { place, down } = order, sign = down ? -1 : 1;
  return [...rows].sort((one, other) => {
    const a = one[place], b = other[place];
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  });
}

function show(table) {
  const rows = ordered(table.rows.filter((row) => matches(table, row)), table.order);
  const body = document.createElement("tbody"), bar = BARS[table.id];
  const place = table.columns.findIndex((column) => column.name === bar);
  const most = place < 0 ? 0 : Math.max(...rows.map((row) => row[place] || 0), 0);
  for (const row of rows.slice(0, table.shown)) {
    const line = document.createElement("tr");
    table.used.forEach((at) => line.append(cell(row[at], table.columns[at], at === place ? most : 0)));
    body.append(line);
  }
  table.element.querySelector("tbody").replaceWith(body);
  const left = rows.length - Math.min(rows.length, table.shown), all = table.rows.length;
  const more = table.card.querySelector(".more");
  more.hidden = !left;
  more.textContent = "Show " + digits(Math.min(left, MORE_ROWS), 0) + " more of " + digits(left, 0);
  const section = table.card.querySelector(".said");
  section.textContent = rows.length === all ? digits(all, 0) + (all === 1 ? " row" : " rows") : digits(rows.length, 0) + " of " + digits(all, 0) + " rows";
  const missing = deaf(table), chip = table.card.querySelector(".chip");
  chip.hidden = !missing.length;
  chip.textContent = missing.length ? "not by " + missing.join(", ") : "";
}

function frame(table) {
  table.card = document.getElementById(table.id);
  table.element = table.card.querySelector("table");
  table.shown = FIRST_ROWS;
  /* Columns without values are left out. */
  table.used = table.columns.map((_, at) => at).filter((at) => table.rows.some((row) => row[at] !== null && row[at] !== ""));
  const head = document.createElement("tr");
  for (const at of table.used) {
    const column = table.columns[at], title = document.createElement("th");
    title.textContent = column.title;
    title.title = column.help;
    title.className = kindOf(column);
    title.scope = "col";
    if (column.kind !== "spark") {
      title.tabIndex = 0;
      const sort = () => {
        const down = table.order && table.order.place === at ? !table.order.down : NUMERIC.has(column.kind) || column.kind === "time";
        table.order = { place: at, down };
        for (const other of head.children) other.removeAttribute("aria-sort");
        title.setAttribute("aria-sort", down ? "descending" : "ascending");
        show(table);
      };
      title.addEventListener("click", sort);
      title.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    }
    head.append(title);
  }
  const top = document.createElement("thead");
  top.append(head);
  table.element.append(top, document.createElement("tbody"));
  table.card.querySelector(".more").addEventListener("click", () => { table.shown += MORE_ROWS; show(table); });
}

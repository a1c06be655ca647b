"use strict";
/* Requests the run's new seconds, once a second, and draws them. All text is inserted as text, never as markup. */
(function () {
  const MOST_POINTS = 900;
  const SETTINGS = { displayModeBar: false, responsive: true };
  const seen = { run: "", next: 0, rows: [], columns: [], styles: {} };
  const at = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const line = (style) => ({ color: colour(style.colour.slice(4, -1)), dash: style.dash, width: style.width });  // "var(--s1)"
  const whole = (value) => Math.round(value).toLocaleString("en");

  function ms(us) {
    if (us === null || us === undefined) return "–";
    const value = us / 1000;
    return (value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : whole(value)) + " ms";
  }

  function element(kind, text, name) {
    const made = document.createElement(kind);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  /* ---- words and figures ---- */

  function tiles(data, last) {
    const shown = [
      ["Connected", last ? whole(last.connected) : "–", last ? "of " + whole(last.bots) + " bots" : ""],
      ["Sent", last ? whole(last.sent) + " /s" : "–", "messages"],
      ["Delivered", last ? whole(last.delivered) + " /s" : "–", "once for each receiver"],
      ["Delivery p99", last ? ms(last.delivery_p99) : "–", "last second"],
      ["Bot lag p99", last ? ms(last.bot_lag_p99) : "–", "last second; ours"],
      ["Server CPU", last && last.server_cpu !== null ? last.server_cpu.toFixed(2) : "–", "cores"],
      ["Audit", data.faults ? whole(data.faults) : last ? "clean" : "–", data.faults ? "faults" : "so far", data.faults > 0],
      ["Marked", whole(data.marked), "seconds", data.marked > 0],
    ];
    at("tiles").replaceChildren(...shown.map(([name, value, note, bad]) => {
      const tile = element("div", undefined, bad ? "tile bad" : "tile");
      tile.append(element("dt", name), element("dd", value), element("p", note));
      return tile;
    }));
  }

  function words(data, last) {
    at("run").textContent = data.run || "No run yet";
    const t = last ? "second " + last.t + ", " + last.phase + (last.step ? ", " + last.step : "") : "";
    at("state").textContent = !data.run ? "Start one on Locust's page." :
      (data.running ? "Running" : "Over") + (t ? ": " + t : "");
    at("directory").textContent = data.directory;
    at("audit").textContent = data.audit;
    at("audit").parentElement.classList.toggle("bad", data.faults > 0);
    at("generator").textContent = data.generator;
    const scope = "Over " + whole(data.seconds) + (data.scope === "steady" ? " steady seconds" : " seconds, including the ramp");
    at("curve-scope").textContent = scope + "; both axes are logarithmic.";
    at("table-scope").textContent = scope + "; milliseconds";
    at("reports").replaceChildren(...data.reports.map((report) => {
      const link = element("a", "Report of " + report.name);
      link.href = "swarm/runs/" + report.number + "/report.html";
      return link;
    }));
  }

  function table(data) {
    const columns = [["per_second", "per second"], ["p50", "p50"], ["p90", "p90"], ["p99", "p99"], ["p999", "p99.9"],
      ["max", "max"]];
    const head = element("thead"), names = element("tr"), body = element("tbody");
    names.append(element("th", "metric"), ...columns.map(([, title]) => element("th", title)), element("th", "meaning"));
    head.append(names);
    for (const row of data.table) {
      const line = element("tr", undefined, row.of_server ? "" : "own");
      line.append(element("th", row.metric));
      for (const [key] of columns) {
        const digits = key === "per_second" ? 1 : row[key] < 10 ? 3 : 1;
        line.append(element("td", row[key].toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })));
      }
      line.append(element("td", row.meaning));
      body.append(line);
    }
    at("table").replaceChildren(head, body);
  }

  /* ---- plots ---- */

  function axis(more) {
    return { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false, tickfont: { size: 12 }, ...more };
  }

  function layout(more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("--ink"), size: 13 },
      hovermode: "x unified", uirevision: seen.run,
      hoverlabel: { bgcolor: colour("--tip"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      ...more,
    };
  }

  function drawCurve(data) {
    const traces = [];
    let most = 100;
    for (const [metric, style] of Object.entries(seen.styles.curves)) {
      const points = (data.curves[metric] || []).filter(([percentile, us]) => percentile < 100 && us > 0);
      if (!points.length) continue;
      most = Math.max(most, 1 / (1 - points[points.length - 1][0] / 100));
      traces.push({
        x: points.map(([percentile]) => 1 / (1 - percentile / 100)), y: points.map(([, us]) => us / 1000),
        text: points.map(([percentile]) => Number(percentile.toPrecision(8)) + " %"), name: style.label,
        mode: "lines", line: line(style), hovertemplate: "%{y:.3~f} ms at %{text}",
      });
    }
    const ticks = [1, 2, 4, 10, 20, 100, 1e3, 1e4, 1e5, 1e6, 1e7].filter((tick) => tick <= most * 1.5);
    Plotly.react("curve", traces, layout({
      margin: { l: 70, r: 30, t: 30, b: 46 }, hovermode: "closest",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      xaxis: axis({ type: "log", tickvals: ticks, ticktext: ticks.map((tick) => Number((100 * (1 - 1 / tick)).toPrecision(9)) + " %"),
        range: [0, Math.log10(most * 1.1)], title: { text: "percentile", font: { size: 12 } } }),
      yaxis: axis({ type: "log", title: { text: "ms", font: { size: 12 } }, tickformat: "~g", dtick: 1 }),
    }), SETTINGS);
  }

  /* In a long run each point covers several seconds: maximum of latencies, mean of the rest. */
  function points() {
    const index = Object.fromEntries(seen.columns.map((name, place) => [name, place]));
    const size = Math.ceil(seen.rows.length / MOST_POINTS) || 1;
    const found = Object.fromEntries(seen.columns.map((name) => [name, []]));
    for (let begin = 0; begin < seen.rows.length; begin += size) {
      const group = seen.rows.slice(begin, begin + size);
      for (const name of seen.columns) {
        const values = group.map((row) => row[index[name]]);
        const numbers = values.filter((value) => typeof value === "number");
        if (!numbers.length) found[name].push(values[0]);
        else if (name === "t") found.t.push(numbers[0]);
        else if (/_p|_max$/.test(name)) found[name].push(Math.max(...numbers));
        else found[name].push(numbers.reduce((sum, value) => sum + value, 0) / numbers.length);
      }
    }
    return found;
  }

  function marks() {
    const t = seen.columns.indexOf("t"), marked = seen.columns.indexOf("marked"), spans = [];
    for (const row of seen.rows) {
      const last = spans[spans.length - 1];
      if (!row[marked]) continue;
      if (last && last.x1 >= row[t] - 0.5) last.x1 = row[t] + 0.5;
      else spans.push({ x0: row[t] - 0.5, x1: row[t] + 0.5 });
    }
    return spans.slice(-200).map((span) => ({
      type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, ...span, layer: "below", line: { width: 0 },
      fillcolor: colour("--marked"), opacity: seen.styles.marked_opacity,
    }));
  }

  function drawTimeline() {
    const of = points(), inMs = (name) => of[name].map((value) => (value === null ? null : value / 1000));
    const mib = (values) => values.map((value) => (value === null ? null : value / 1048576));
    const trace = (panel, group, name, unit, y) => ({
      x: of.t, y: y || of[name], name: seen.styles.lines[name].label, line: line(seen.styles.lines[name]), mode: "lines",
      yaxis: "y" + (group > 1 ? group : ""), legend: "legend" + (panel > 1 ? panel : ""), connectgaps: false,
      hovertemplate: "%{y:,.3~r} " + unit,
    });
    const traces = [
      ...["delivery_max", "delivery_p999", "delivery_p99", "delivery_p50"].map((name) => trace(1, 1, name, "ms", inMs(name))),
      ...["bot_lag_p99", "loop_lag_max"].map((name) => trace(2, 2, name, "ms", inMs(name))),
      trace(3, 3, "delivered", "/s"), trace(3, 4, "sent", "/s"),
      trace(4, 5, "connected", ""), trace(4, 5, "bots", ""),
      trace(5, 6, "server_cpu", "cores"), trace(5, 6, "cpu", "cores"), trace(5, 7, "server_rss", "MiB", mib(of.server_rss)),
    ];
    const small = (text) => ({ text, font: { size: 12 } });
    const tops = [1, 0.785, 0.57, 0.355, 0.14], height = 0.14;
    const panel = (number, title, more) => axis({
      domain: [tops[number - 1] - height, tops[number - 1]], title: small(title), rangemode: "tozero", ...more,
    });
    const beside = (left, title) => axis({
      overlaying: left, side: "right", title: small(title), rangemode: "tozero", showgrid: false, tickmode: "auto", nticks: 4,
    });
    const log = { type: "log", rangemode: "normal", tickformat: "~g", dtick: 1 };
    const legends = Object.fromEntries(tops.map((top, place) => [
      "legend" + (place ? place + 1 : ""), { orientation: "h", x: 0, y: top + 0.004, yanchor: "bottom", font: { size: 12 } },
    ]));
    Plotly.react("timeline", traces, layout({
      ...legends, shapes: marks(), margin: { l: 70, r: 70, t: 34, b: 40 },
      xaxis: axis({ title: small("seconds since the run began"), anchor: "y6" }),
      yaxis: panel(1, "ms", log), yaxis2: panel(2, "ms", log),
      yaxis3: panel(3, "/s"), yaxis4: beside("y3", "/s"), yaxis5: panel(4, "connections"),
      yaxis6: panel(5, "cores"), yaxis7: beside("y6", "MiB"),
    }), SETTINGS);
  }

  /* ---- the loop ---- */

  function take(data) {
    if (data.run !== seen.run || data.begin !== seen.next) seen.rows = [];
    seen.run = data.run;
    seen.next = data.next;
    seen.columns = data.columns;
    seen.styles = data.styles;
    seen.rows.push(...data.rows);
    const newest = seen.rows[seen.rows.length - 1];
    const last = newest && Object.fromEntries(seen.columns.map((name, place) => [name, newest[place]]));
    words(data, last);
    tiles(data, last);
    table(data);
    if (!document.hidden && !data.more && typeof Plotly !== "undefined") {
      drawCurve(data);
      drawTimeline();
    }
  }

  async function ask() {
    let delayMs = 1000;
    try {
      const asked = "swarm/data?since=" + seen.next + "&run=" + encodeURIComponent(seen.run);
      const answer = await fetch(asked, { cache: "no-store" });
      if (!answer.ok) throw new Error("code " + answer.status);
      const data = await answer.json();
      take(data);
      if (data.more) delayMs = 0;
      at("notice").hidden = true;
    } catch (error) {
      at("notice").textContent = "Not updating: Locust does not answer (" + error.message + ").";
      at("notice").hidden = false;
    }
    setTimeout(ask, delayMs);
  }

  ask();
})();

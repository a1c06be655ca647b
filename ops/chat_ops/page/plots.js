/* Draws the plots with the embedded plotly. */
const settings = { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: false };

async function library() {
  const packed = document.getElementById("library");
  const bytes = Uint8Array.from(atob(packed.textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.nonce = packed.nonce;
  script.textContent = await new Response(stream).text();
  packed.remove();
  document.head.append(script);
}

/* Colours are var(--name), so that both colour schemes have their own. */
function coloured(value, style) {
  if (typeof value === "string") {
    return value.startsWith("var(--") ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
  }
  if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map((one) => coloured(one, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, style)]));
  }
  return value;
}

function marks(style) {
  const shapes = [];
  for (const mark of data.marks) {
    if (mark.to < since() || mark.from > until() || (chosen.node && mark.node && mark.node !== chosen.node)) continue;
    const least = (until() - since()) / 400, storm = mark.kind === "storm";
    shapes.push({
      type: storm ? "rect" : "line", layer: "below", xref: "x", yref: "paper", y0: 0, y1: 1,
      x0: mark.from, x1: storm ? Math.max(mark.to, mark.from + least) : mark.from,
      fillcolor: "var(--storm)", line: storm ? { width: 0 } : { width: 1.5, dash: "dot", color: mark.kind === "run" ? "var(--run)" : "var(--bad)" },
    });
  }
  return coloured(shapes, style);
}

function axis(title, more) {
  return {
    title: title ? { text: title, font: { size: 11, color: "var(--soft)" }, standoff: 6 } : undefined, rangemode: "tozero", fixedrange: true,
    gridcolor: "var(--grid)", zeroline: false, nticks: 5, automargin: true, exponentformat: "SI", separatethousands: true, ...more,
  };
}

/* plotly shows too few ticks on a logarithmic axis of one power of ten. */
function logarithmic(traces) {
  const values = traces.flatMap((one) => one.y).filter((one) => one > 0);
  const low = Math.min(...values), high = Math.max(...values);
  return values.length && high / low < 30 ? { dtick: "D2" } : { dtick: 1 };
}

function layout(plot, traces, style) {
  const y = plot.y || {}, lower = traces.filter((one) => one.yaxis === "y2").length;
  const two = Boolean(plot.two && lower && lower < traces.length), only = lower === traces.length;
  const made = {
    margin: { l: 52, r: 14, t: 6, b: 40 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: "var(--soft)" }, hovermode: "x unified", dragmode: "zoom",
    hoverlabel: { bgcolor: "var(--tip)", bordercolor: "var(--line)", font: { color: "var(--ink)", size: 12 }, namelength: -1 },
    showlegend: traces.length > 1 || Boolean(plot.bars), legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } }, barmode: "stack",
    xaxis: { type: "date", range: [since(), until()], gridcolor: "var(--grid)", zeroline: false, hoverformat: "%Y-%m-%d %H:%M:%S", anchor: two || (plot.two && only) ? "y2" : "y" },
    yaxis: axis(plot.two && plot.two[0], { ...y, ...(y.type === "log" ? logarithmic(traces) : {}), domain: two ? [0.45, 1] : [0, 1] }),
  };
  if (plot.two && lower) made.yaxis2 = axis(plot.two[1], { domain: two ? [0, 0.34] : [0, 1], nticks: two ? 3 : 5 });
  if (plot.curve) {
    const most = Math.max(10, ...traces.flatMap((one) => one.x)), narrow = most > 2e4 || plot.box.clientWidth < 420, ticks = narrow ? [1] : [1, 2, 4];
    for (let power = 1; Math.pow(10, power) <= most; power += 1) ticks.push(Math.pow(10, power));
    Object.assign(made.xaxis, { type: "log", range: [0, Math.log10(most) + 0.02], fixedrange: true, tickmode: "array", tickvals: ticks, ticktext: ticks.map(nines), tickangle: 0 });
    made.hovermode = "closest";
  } else made.shapes = marks(style);
  return coloured(made, style);
}

/* Plots without data are left out. */
function build(choose) {
  const missing = [];
  for (const plot of PLOTS) {
    if (!plot.traces().length) { missing.push(plot.title.toLowerCase()); continue; }
    const card = document.createElement("figure"), caption = document.createElement("figcaption");
    const title = document.createElement("h3"), text = document.createElement("p"), chip = document.createElement("small");
    card.className = "card";
    title.textContent = plot.title + " ";
    text.textContent = plot.caption;
    chip.className = "chip";
    chip.hidden = true;
    title.append(chip);
    caption.append(title, text);
    plot.box = document.createElement("div");
    plot.box.className = "plot";
    plot.box.id = "plot-" + plot.id;
    plot.box.style.height = plot.two ? "300px" : "262px";
    plot.box.setAttribute("role", "img");
    plot.box.setAttribute("aria-label", plot.title + ": " + plot.caption);
    plot.card = card;
    plot.chip = chip;
    card.append(caption, plot.box);
    document.getElementById("plots").append(card);
  }
  const shown = PLOTS.filter((one) => one.box);
  if (shown.length % 2) shown[0].card.classList.add("wide");
  if (missing.length) {
    const none = document.createElement("p");
    none.className = "none";
    none.textContent = "The log has no data for: " + missing.join("; ") + ".";
    document.getElementById("plots").append(none);
  }
  return draw().then(() => {
    for (const plot of shown) {
      if (plot.curve) continue;
      plot.box.on("plotly_relayout", (change) => {
        if (change["xaxis.range[0]"] !== undefined) choose(utc(change["xaxis.range[0]"]), utc(change["xaxis.range[1]"]));
      });
      plot.box.on("plotly_doubleclick", () => choose(null, null));
    }
  });
}

function utc(value) {
  if (typeof value === "number") return value;
  const text = value.replace(" ", "T");
  return Date.parse(text.length === 10 ? text + "T00:00Z" : text.length === 13 ? text + ":00Z" : text + "Z");
}

function draw() {
  const style = getComputedStyle(document.documentElement);
  return Promise.all(PLOTS.filter((one) => one.box).map((plot) => {
    const off = ["room", "user"].filter((key) => chosen[key] && !(plot.follows || []).includes(key));
    if (chosen.room && chosen.node && (plot.follows || []).includes("room")) off.push("node");
    const traces = plot.traces();
    plot.chip.hidden = !off.length;
    plot.chip.textContent = off.length ? "not by " + off.join(", ") : "";
    plot.card.classList.toggle("off", ["room", "user"].some((key) => off.includes(key)));
    return Plotly.react(plot.box, coloured(traces, style), layout(plot, traces, style), settings);
  }));
}

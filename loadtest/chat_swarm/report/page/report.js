"use strict";
/* Unpacks the plotting library that the page carries, and draws. Nothing is fetched. */
(function () {
  const plots = JSON.parse(document.getElementById("plots").textContent);

  function refuse(why) {
    const notice = document.getElementById("no-plots");
    notice.textContent = "The plots cannot be drawn (" + why + "); all figures are in the tables below.";
    notice.hidden = false;
  }

  async function library() {
    const packed = document.getElementById("library");
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (letter) => letter.charCodeAt(0));
    packed.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  /* Figures name colours as var(--name), so that each colour scheme defines its own. */
  function coloured(value, style) {
    if (typeof value === "string") {
      return value.startsWith("var(--") ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((one) => coloured(one, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, style)]));
    }
    return value;
  }

  const settings = {
    displaylogo: false,
    responsive: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  function draw() {
    const style = getComputedStyle(document.documentElement);
    return Promise.all(plots.map((one) => {
      const figure = coloured(one.figure, style);
      return Plotly.react(one.id, figure.data, figure.layout, settings);
    }));
  }

  /* Plots over time share their x axis: zooming one zooms all. */
  function tie() {
    const tied = plots.filter((one) => one.time).map((one) => document.getElementById(one.id));
    let busy = false;
    for (const one of tied) {
      one.on("plotly_relayout", (change) => {
        if (busy) return;
        const whole = change["xaxis.autorange"];
        const from = change["xaxis.range[0]"], to = change["xaxis.range[1]"];
        if (!whole && from === undefined) return;
        busy = true;
        const wanted = whole ? { "xaxis.autorange": true } : { "xaxis.range": [from, to] };
        Promise.all(tied.filter((other) => other !== one).map((other) => Plotly.relayout(other, wanted)))
          .finally(() => { busy = false; });
      });
    }
  }

  if (typeof DecompressionStream === "undefined") {
    refuse("this browser is older than 2023");
    return;
  }
  library().then(draw).then(tie).then(() => {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    document.documentElement.dataset.drawn = plots.length;
  }).catch((error) => refuse(String(error)));
})();

"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 600px)");

  // {tone: "blue", opacity: 0.2} becomes the page's blue; {heat: "low"} an end of its heat scale.
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const faded = (hex, opacity) => {
    const channels = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${channels.join(",")},${opacity})`;
  };
  const coloured = (value) => {
    if (Array.isArray(value)) return value.map(coloured);
    if (value === null || typeof value !== "object") return value;
    if (value.heat !== undefined) return colour(`heat-${value.heat}`);
    if (value.tone !== undefined) return faded(colour(value.tone), value.opacity);
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, coloured(part)]));
  };

  const layoutOf = (figure) => {
    const layout = coloured(figure.layout);
    const axis = {
      gridcolor: colour("hairline"), zerolinecolor: colour("muted"), linecolor: colour("faint"),
      tickcolor: colour("faint"), showline: true, ticks: "outside", ticklen: 4, fixedrange: narrow.matches,
    };
    const font = { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 12 : 13, color: colour("ink") };
    return {
      ...layout, font,
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
      margin: narrow.matches ? { ...layout.margin, l: 66, r: 8 } : layout.margin,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("faint"), activecolor: colour("ink") },
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("faint"), align: "left", namelength: -1, font: { ...font, size: 12.5 } },
    };
  };
  const config = {
    responsive: true, displaylogo: false,
    modeBarButtons: [["toImage", "resetScale2d"]],
  };
  const draw = () => {
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = figures[place.dataset.figure];
      Plotly.react(place, coloured(figure.data), layoutOf(figure), config);
    }
  };
  draw();
  for (const query of [dark, narrow, window.matchMedia("print")]) query.addEventListener("change", draw);

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (first, second) => (first < second ? -1 : first > second ? 1 : 0);
  const sortBy = (table, column, descending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // nothing stays last
      return descending ? compare(b, a) : compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => {
        const descending = heading.getAttribute("aria-sort") === "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sortBy(table, column, descending);
        fold(table);
      });
    });
  }

  const fold = (table) => {
    const limit = table.dataset.open ? Infinity : Number(table.dataset.shown);
    [...table.tBodies[0].rows].forEach((row, index) => { row.hidden = index >= limit; });
  };
  for (const table of document.querySelectorAll("table")) {
    const rows = table.tBodies[0].rows.length;
    if (rows <= Number(table.dataset.shown)) continue;
    const more = document.createElement("button");
    more.className = "more";
    more.type = "button";
    more.textContent = `Show all ${rows.toLocaleString("en")} rows`;
    more.addEventListener("click", () => { table.dataset.open = "yes"; fold(table); more.remove(); });
    table.closest(".table").append(more);
    fold(table);
  }
})();

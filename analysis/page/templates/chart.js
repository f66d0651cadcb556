"use strict";
// The interactive chart of report.html. It draws what analysis/page/chart.py put into the page's JSON block and loads nothing.
// Names in a study may be hostile: text gets into the page through textContent and setAttribute on fixed names alone.
(() => {
  const block = document.getElementById("chart-data");
  const data = JSON.parse(block.textContent);
  const stage = document.getElementById("chart-stage");
  const svg = stage.querySelector("svg");
  const controls = document.getElementById("chart-controls");
  const legend = document.getElementById("chart-legend");
  const pinnedBox = document.getElementById("pinned");
  const status = document.getElementById("chart-status");
  const { axes, groupings, background } = data;

  const NEAR = 22; // greatest distance of the pointer from a point, in pixels
  const MAX_PINS = 24;
  const CLOSE_AFTER = 250; // milliseconds for the pointer to move from a point to its card
  const DEFAULTS = { bands: true, interpolations: true, off: true, near: false };
  const DASHES = ["", "7 3", "2 2.5", "9 3 2 3", "4 2", "12 4"];
  const ROUND = "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0z";
  const CROSS = "M-1.1-.55L-.55-1.1L0-.55L.55-1.1L1.1-.55L.55,0L1.1,.55L.55,1.1L0,.55L-.55,1.1L-1.1,.55L-.55,0z";
  const SHAPES = new Map([
    ["o", ROUND],
    ["s", "M-.9-.9h1.8v1.8h-1.8z"],
    ["^", "M0-1.15L1.1,.85H-1.1z"],
    ["D", "M0-1.25L1.25,0L0,1.25L-1.25,0z"],
    ["v", "M0,1.15L1.1-.85H-1.1z"],
    ["P", "M-.4-1.1h.8v.7h.7v.8h-.7v.7h-.8v-.7h-.7v-.8h.7z"],
    ["X", CROSS],
    ["*", "M0-1L.25-.31L.95-.31L.39,.12L.59,.81L0,.4L-.59,.81L-.39,.12L-.95-.31L-.25-.31z"],
    ["x", "M-1-1L1,1M-1,1L1-1"],
  ]);
  const KINDS = new Map([
    ["fidelity", { text: "fidelity generator", marker: "*", size: 11 }],
    ["bicubic", { text: "bicubic", marker: "x", size: 5.5 }],
    ["input", { text: "input", marker: "x", size: 5.5 }],
    ["weights", { text: "interpolation of weights", marker: "D", size: 4 }],
    ["images", { text: "interpolation of images", marker: "D", size: 4 }],
    ["trial", { text: "point of a trial" }],
  ]);

  const byId = new Map(data.points.map((point) => [point.id, point]));
  const pictures = new Map(Object.entries(data.pictures));
  for (const image of document.querySelectorAll("img[data-sample]")) {
    pictures.set(image.dataset.sample, image.getAttribute("src"));
  }

  let mode = 0; // index of the grouping that gives the colours
  const show = { ...DEFAULTS };
  let width = 0;
  let frame = null; // of the last drawing: scales from values to pixels
  let elements = new Map(); // of the last drawing: the mark of each point
  let current = null; // the point that Tab focuses
  let open = null; // the point whose card is shown
  let held = false; // the card was opened by keyboard or tap: it stays when the pointer leaves
  let closing = 0;
  let pointer = "mouse";
  let pins = [];

  const isCrowded = background.trials.length > 60;
  const isInterpolation = (point) => point.kind === "weights" || point.kind === "images";
  const isReference = (point) => point.trial === null && !isInterpolation(point);
  const onGroupFront = (point) => point.fronts.includes(mode);
  const isVisible = (point) =>
    isInside(point) &&
    (isReference(point) || ((show.interpolations || !isInterpolation(point)) && (show.off || point.front || onGroupFront(point))));

  // ---- elements -------------------------------------------------------------------------------------------------

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const html = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const shape = (name, attributes = {}, ...children) =>
    fill(document.createElementNS(svg.namespaceURI, name), attributes, children);
  const hiddenText = (text) => html("span", { class: "visually-hidden" }, text);

  function button(text, action, label) {
    const element = html("button", { type: "button", ...(label ? { "aria-label": label } : {}) }, text);
    element.addEventListener("click", action);
    return element;
  }

  // ---- the region shown ----------------------------------------------------------------------------------------

  const isInside = ({ x, y }) =>
    x >= frame.across.low && x <= frame.across.high && y >= frame.up.low && y <= frame.up.high;

  // All of the axes, or the part with the fronts, with a margin.
  function region() {
    const places = [...data.front, ...groupings.flatMap(({ groups }) => groups.flatMap((group) => group.front))];
    if (!show.near || places.length < 2) return { across: axes.x, up: axes.y };
    const around = (values, axis) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const margin = 0.06 * (high - low) || 0.05 * (axis.high - axis.low);
      return { low: low - margin, high: high + margin };
    };
    return { across: around(places.map(([x]) => x), axes.x), up: around(places.map(([, y]) => y), axes.y) };
  }

  // ---- axes -----------------------------------------------------------------------------------------------------

  function ticks(axis, count) {
    const raw = (axis.high - axis.low) / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
    const found = [];
    for (let place = Math.ceil(axis.low / step); place * step <= axis.high; place += 1) found.push(place * step);
    return found.map((value) => ({ value, text: tickText(value, step) }));
  }

  function tickText(value, step) {
    if (step < 1e-5 || Math.abs(value) >= 1e7) return value === 0 ? "0" : value.toExponential(2);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return (Math.abs(value) < step / 2 ? 0 : value).toFixed(digits).replace("-", "\u2212");
  }

  function layOut() {
    const height = Math.round(Math.min(560, Math.max(300, width * 0.6)));
    const { up, across } = region();
    const upTicks = ticks(up, height / 55);
    const longest = Math.max(2, ...upTicks.map((tick) => tick.text.length));
    const box = { left: 14 + 7.2 * longest, right: width - 14, top: 8, bottom: height - 26 };
    const acrossTicks = ticks(across, (box.right - box.left) / 75);
    const scale = (axis, from, to) => (value) => from + ((value - axis.low) / (axis.high - axis.low)) * (to - from);
    const x = scale(across, box.left, box.right);
    const y = scale(up, box.bottom, box.top);
    return { height, box, up, across, upTicks, acrossTicks, x, y };
  }

  function drawAxes() {
    const { box, upTicks, acrossTicks, x, y } = frame;
    const group = shape("g", { class: "axes", "aria-hidden": "true" });
    for (const tick of upTicks) {
      group.append(
        shape("path", { class: "grid", d: `M${box.left} ${y(tick.value)}H${box.right}` }),
        shape("text", { x: box.left - 7, y: y(tick.value), dy: ".33em", "text-anchor": "end" }, tick.text),
      );
    }
    for (const tick of acrossTicks) {
      group.append(
        shape("path", { class: "grid", d: `M${x(tick.value)} ${box.top}V${box.bottom}` }),
        shape("text", { x: x(tick.value), y: box.bottom + 18, "text-anchor": "middle" }, tick.text),
      );
    }
    group.append(shape("path", { class: "axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }));
    return group;
  }

  // ---- lines, bands and dots -----------------------------------------------------------------------------------

  const place = (x, y) => `${frame.x(x).toFixed(1)} ${frame.y(y).toFixed(1)}`;

  // The border of the region that a front dominates.
  function steps(front) {
    const sorted = [...front].sort((one, other) => one[0] - other[0]);
    return sorted
      .map(([x, y], index) => {
        if (index === 0) return `M${place(x, y)}`;
        const corner = axes.x.better === "low" ? [x, sorted[index - 1][1]] : [sorted[index - 1][0], y];
        return `L${place(...corner)}L${place(x, y)}`;
      })
      .join("");
  }

  function drawBand(group) {
    const { x, low, high } = group.band;
    const there = x.map((value, index) => place(value, high[index]));
    const back = x.map((value, index) => place(value, low[index])).reverse();
    return shape("path", { class: "band", d: `M${[...there, ...back].join("L")}Z`, fill: group.colour });
  }

  function drawBackground(layer) {
    const lines = groupings[mode].groups.map(() => []);
    const dots = groupings[mode].groups.map(() => []);
    for (const trial of background.trials) {
      const group = trial.groups[mode];
      if (group < 0) continue;
      const places = [];
      for (let index = 0; index < trial.xy.length; index += 2) places.push(place(trial.xy[index], trial.xy[index + 1]));
      lines[group].push(`M${places.join("L")}`);
      const detailed = new Set(trial.detailed);
      places.forEach((at, index) => detailed.has(index) || dots[group].push(`M${at}h.01`));
    }
    const faint = isCrowded ? " many" : "";
    groupings[mode].groups.forEach(({ colour }, group) => {
      layer.append(shape("path", { class: `trial-path${faint}`, d: lines[group].join(""), stroke: colour }));
      layer.append(shape("path", { class: `dots${faint}`, d: dots[group].join(""), stroke: colour }));
    });
  }

  function drawInterpolationDots(layer) {
    const dots = [];
    const { interpolations } = background;
    for (let index = 0; index < interpolations.length; index += 2) dots.push(`M${place(interpolations[index], interpolations[index + 1])}h.01`);
    layer.append(shape("path", { class: "dots", d: dots.join(""), stroke: data.front_colour }));
  }

  // ---- points ---------------------------------------------------------------------------------------------------

  function markerOf(point) {
    if (point.kind !== "trial") return KINDS.get(point.kind).marker;
    const second = groupings.length > 1 ? (mode === 0 ? 1 : 0) : -1;
    const group = second < 0 ? null : groupings[second].groups[point.groups[second]];
    return group ? group.marker : "o";
  }

  function lookOf(point) {
    const faint = !point.front && !onGroupFront(point);
    if (isReference(point)) {
      const lines = point.kind !== "fidelity";
      return { size: KINDS.get(point.kind).size, fill: lines ? "none" : "#000", stroke: lines ? "#000" : "#fff", line: lines ? 2.2 : 1 };
    }
    if (isInterpolation(point)) {
      const fillColour = point.kind === "weights" ? data.front_colour : "#fff";
      return { size: faint ? 2.4 : 4, fill: fillColour, stroke: data.front_colour, line: 1, opacity: faint ? 0.4 : 1 };
    }
    const group = groupings[mode].groups[point.groups[mode]];
    const colour = group ? group.colour : data.front_colour;
    if (point.front) return { size: 6, fill: colour, stroke: "#000", line: 1.2 };
    return { size: faint ? 3.6 : 4.8, fill: colour, stroke: "#fff", line: 0.7, opacity: faint ? (isCrowded ? 0.35 : 0.55) : 1 };
  }

  function drawMark(marker, look, shrink = 1) {
    return shape("path", {
      d: SHAPES.get(marker),
      transform: `scale(${look.size * shrink})`,
      fill: look.fill,
      stroke: look.stroke,
      "stroke-width": look.line,
      opacity: look.opacity ?? 1,
      "vector-effect": "non-scaling-stroke",
    });
  }

  function nameOf(point) {
    const values = [0, 1].map((index) => `${data.metrics[index]} ${point.metrics[index]}`);
    return `${point.label}, ${values.join(", ")}, ${point.status}`;
  }

  function drawPoints(layer) {
    const rank = (point) => (isReference(point) ? 4 : point.front ? 3 : onGroupFront(point) ? 2 : isInterpolation(point) ? 0 : 1);
    elements = new Map();
    const shrink = width < 480 ? 0.8 : 1;
    const visible = data.points.filter(isVisible).sort((one, other) => rank(one) - rank(other));
    for (const point of visible) {
      const group = shape("g", {
        class: "point",
        role: "button",
        tabindex: "-1",
        transform: `translate(${place(point.x, point.y)})`,
        "aria-label": nameOf(point),
      }, drawMark(markerOf(point), lookOf(point), shrink));
      elements.set(point.id, group);
      group.addEventListener("focus", () => {
        setCurrent(point);
        if (group.matches(":focus-visible")) openCard(point, true);
      });
      layer.append(group);
    }
    if (!current || !elements.has(current.id)) current = frontInOrder()[0] ?? visible[0] ?? null;
    if (current) elements.get(current.id).setAttribute("tabindex", "0");
    markPins();
  }

  function markPins() {
    const rings = svg.querySelector(".rings");
    rings.replaceChildren();
    for (const [id, element] of elements) element.setAttribute("aria-pressed", String(pins.includes(id)));
    known().forEach((point, index) => {
      if (!elements.has(point.id)) return;
      const [x, y] = [frame.x(point.x), frame.y(point.y)];
      const right = x < frame.box.right - 24;
      const text = { x: x + (right ? 11 : -11), y: y - 8, "text-anchor": right ? "start" : "end" };
      rings.append(shape("circle", { class: "pin", cx: x, cy: y, r: 11 }), shape("text", text, String(index + 1)));
    });
    if (open && elements.has(open.id) && !elements.get(open.id).matches(":focus-visible")) {
      rings.append(shape("circle", { class: "ring", cx: frame.x(open.x), cy: frame.y(open.y), r: 10 }));
    }
  }

  function draw() {
    const focused = current && document.activeElement === elements.get(current.id);
    width = Math.max(240, Math.floor(stage.clientWidth));
    frame = layOut();
    const { box, height } = frame;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const clip = shape("clipPath", { id: "chart-clip" },
      shape("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top }));
    const under = shape("g", { "clip-path": "url(#chart-clip)", "aria-hidden": "true" });
    const points = shape("g", {});
    const { groups } = groupings[mode];
    if (show.bands) groups.filter((group) => group.band).forEach((group) => under.append(drawBand(group)));
    if (show.off) drawBackground(under);
    if (show.off && show.interpolations) drawInterpolationDots(under);
    for (const { front } of groups) under.append(shape("path", { class: "casing", d: steps(front) }));
    under.append(shape("path", { class: "front", d: steps(data.front), stroke: data.front_colour }));
    groups.forEach((group, index) => {
      const dash = DASHES[index % DASHES.length];
      under.append(shape("path", { class: "group-front", d: steps(group.front), stroke: group.colour, "stroke-dasharray": dash }));
    });
    svg.replaceChildren(shape("defs", {}, clip), drawAxes(), under, points, shape("g", { class: "rings", "aria-hidden": "true" }));
    drawPoints(points);
    if (open && !elements.has(open.id)) closeCard();
    if (focused && elements.has(current.id)) elements.get(current.id).focus({ preventScroll: true });
    if (open) putCard();
    drawLegend();
  }

  // ---- controls and legend -------------------------------------------------------------------------------------

  function sample(marks) {
    return shape("svg", { viewBox: "-16 -9 32 18", width: 32, height: 18, "aria-hidden": "true" }, ...marks);
  }

  function drawLegend() {
    const line = (className, colour, dash = "") =>
      shape("path", { class: className, d: "M-15 0H15", stroke: colour, "stroke-dasharray": dash });
    const items = [["front of all points", [line("front", data.front_colour)]]];
    const { groups, label, path } = groupings[mode];
    const plain = { size: 5, stroke: "#fff", line: 0.7 };
    groups.forEach((group, index) => {
      const marks = [drawMark("o", { ...plain, fill: group.colour })];
      if (path) marks.unshift(line("group-front", group.colour, DASHES[index % DASHES.length]));
      items.push([label ? `${label}: ${group.label}` : group.label, marks]);
    });
    if (show.bands && groups.some((group) => group.band)) {
      items.push(["95% band of a group's front", [shape("rect", { class: "band", x: -15, y: -7, width: 30, height: 14, fill: "#555" })]]);
    }
    if (groupings.length > 1) {
      const second = groupings[mode === 0 ? 1 : 0];
      for (const group of second.groups) {
        items.push([`${second.label}: ${group.label}`, [drawMark(group.marker, { ...plain, fill: "#777" })]]);
      }
    }
    for (const [kind, { text, marker }] of KINDS) {
      const example = marker && data.points.find((point) => point.kind === kind && isVisible(point));
      if (example) items.push([text, [drawMark(marker, { ...lookOf(example), opacity: 1, size: Math.min(8, lookOf(example).size + 1) })]]);
    }
    legend.replaceChildren(...items.map(([text, marks]) => html("li", {}, sample(marks), html("span", {}, text))));
  }

  function check(name, text) {
    const input = html("input", { type: "checkbox" });
    input.checked = show[name];
    input.addEventListener("change", () => {
      show[name] = input.checked;
      writeHash();
      draw();
    });
    return html("label", {}, input, ` ${text}`);
  }

  function makeControls() {
    controls.replaceChildren();
    if (groupings.length > 1) {
      const choice = html("select", {}, ...groupings.map(({ label }, index) => html("option", { value: index }, label)));
      choice.value = String(mode);
      choice.addEventListener("change", () => {
        mode = Number(choice.value);
        writeHash();
        draw();
      });
      controls.append(html("label", {}, "Colour by ", choice));
    }
    const hasBands = groupings.some(({ groups }) => groups.some((group) => group.band));
    if (hasBands) controls.append(check("bands", "95% bands"));
    if (background.interpolations.length || data.points.some(isInterpolation)) controls.append(check("interpolations", "interpolations"));
    controls.append(check("off", "points off the front"), check("near", "only the region of the fronts"));
  }

  // ---- details of a point -------------------------------------------------------------------------------------

  function list(heads, values, differing = new Set()) {
    const rows = heads.map((head, index) => {
      const differs = differing.has(index);
      const mark = differs ? [html("span", { "aria-hidden": "true" }, "\u2260 ")] : [];
      const term = html("dt", {}, ...mark, head, ...(differs ? [hiddenText(" (differs)")] : []));
      return html("div", differs ? { class: "differs" } : {}, term, html("dd", {}, values[index]));
    });
    return html("dl", {}, ...rows);
  }

  function about(point) {
    const trial = point.trial === null ? null : data.trials[point.trial];
    const state = trial ? [`${trial.state}${trial.cause ? `: ${trial.cause}` : ""}`] : [];
    const what = isInterpolation(point) ? [KINDS.get(point.kind).text] : [];
    return [...what, point.status, ...state].join("; ");
  }

  const pictureOf = (point, image) => (point.samples === null ? undefined : pictures.get(`${point.samples}/${image}`));

  function pair(point, image) {
    const views = [[point.label, pictureOf(point, image)], ["HR", pictures.get(`${data.hr}/${image}`)]];
    const shown = views.filter(([, uri]) => uri).map(([title, uri], index) =>
      html("div", {}, html("img", { src: uri, alt: `${image}, ${title}` }), html("span", {}, index ? title : image)));
    return html("div", { class: "pair" }, ...shown);
  }

  function crops(point, limit) {
    const images = data.images.filter((image) => pictureOf(point, image)).slice(0, limit);
    return images.length
      ? html("div", { class: "pairs" }, ...images.map((image) => pair(point, image)))
      : html("p", { class: "quiet" }, "No crops of this point in this page.");
  }

  function settings(point, differing) {
    return point.trial === null ? html("p", { class: "quiet" }, "Not of a trial: no settings.")
      : list(data.settings, data.trials[point.trial].settings, differing);
  }

  // ---- the card -------------------------------------------------------------------------------------------------

  const card = html("div", { class: "card", role: "group", hidden: "" });
  stage.append(card);

  function openCard(point, hold) {
    clearTimeout(closing);
    held = hold;
    if (open === point) return;
    open = point;
    fillCard();
    card.hidden = false;
    putCard();
    markPins();
  }

  function fillCard() {
    const pinned = pins.includes(open.id);
    const point = open;
    card.setAttribute("aria-label", `Details of ${point.label}`);
    card.replaceChildren(
      html("div", { class: "card-head" },
        html("p", { class: "title" }, point.label),
        button(pinned ? "Unpin" : "Pin", () => toggle(point)),
        button("\u00d7", () => closeCard(), "Close")),
      html("p", { class: "quiet" }, about(point)),
      list(data.metrics, point.metrics),
      crops(point, 1),
      ...(point.trial === null ? [] : [settings(point)]),
    );
    card.scrollTop = 0;
  }

  // Beside its point where there is room; on a phone, the style sheet puts it at the bottom of the screen.
  function putCard() {
    const [x, y] = [frame.x(open.x), frame.y(open.y)];
    const roomRight = width - x - 18;
    const left = roomRight >= card.offsetWidth ? x + 18 : Math.max(0, x - 18 - card.offsetWidth);
    card.style.left = `${left}px`;
    card.style.top = `${Math.max(0, Math.min(y - 40, frame.height - card.offsetHeight))}px`;
  }

  function closeCard() {
    clearTimeout(closing);
    const inside = card.contains(document.activeElement);
    open = null;
    held = false;
    card.hidden = true;
    if (inside && current) elements.get(current.id).focus({ preventScroll: true });
    if (inside) closeCard(); // the returning focus has opened it again
    else markPins();
  }

  function closeSoon() {
    clearTimeout(closing);
    if (open && !held) closing = setTimeout(closeCard, CLOSE_AFTER);
  }

  // ---- pins -----------------------------------------------------------------------------------------------------

  const known = () => pins.map((id) => byId.get(id)).filter((point) => point !== undefined);

  function toggle(point) {
    const pinned = pins.includes(point.id);
    if (!pinned && pins.length >= MAX_PINS) {
      announce(`${MAX_PINS} points are pinned already; unpin one first.`);
      return;
    }
    setPins(pinned ? pins.filter((id) => id !== point.id) : [...pins, point.id]);
    announce(`${pinned ? "Unpinned" : "Pinned"}: ${point.label}. ${countText()}.`);
  }

  const countText = () => (pins.length === 1 ? "1 point is pinned" : `${pins.length} points are pinned`);

  function announce(text) {
    status.textContent = text;
  }

  function setPins(ids) {
    pins = ids;
    writeHash();
    showPins();
  }

  // Pins and choices are in the address, so that links and reloads restore them.
  function writeHash() {
    const chosen = Object.keys(show).filter((name) => show[name] !== DEFAULTS[name]);
    const parts = [
      ...(pins.length ? [`pin=${pins.join(",")}`] : []),
      ...(mode ? [`by=${mode}`] : []),
      ...(chosen.length ? [`not=${chosen.join(",")}`] : []),
    ];
    const page = location.href.split("#")[0];
    try {
      history.replaceState(null, "", parts.length ? `${page}#${parts.join("&")}` : page);
    } catch {
      // A viewer that shows the page in a frame may forbid it; pins work without.
    }
  }

  function showPins() {
    const points = known();
    const differing = new Set();
    const values = points.filter((point) => point.trial !== null).map((point) => data.trials[point.trial].settings);
    data.settings.forEach((_, index) => new Set(values.map((each) => each[index])).size > 1 && differing.add(index));
    const away = pins.length - points.length;
    const note = away ? [html("p", {}, `${away} of the pinned points have no details in this page.`)] : [];
    pinnedBox.hidden = pins.length === 0;
    pinnedBox.querySelector(".pins").replaceChildren(...note, ...points.map((point, index) => pinCard(point, index, differing)));
    if (open) fillCard();
    markPins();
  }

  function pinCard(point, index, differing) {
    const title = html("h4", {}, html("span", { class: "number" }, String(index + 1)), ` ${point.label}`);
    const unpin = button("Unpin", () => {
      toggle(point);
      focusAfterUnpin(index);
    }, `Unpin ${point.label}`);
    const head = html("div", {}, title, html("p", { class: "quiet" }, about(point)), unpin);
    return html("article", { class: "pinned" }, head, list(data.metrics, point.metrics), settings(point, differing), crops(point));
  }

  function focusAfterUnpin(index) {
    const left = pinnedBox.querySelectorAll("article button");
    if (left.length) left[Math.min(index, left.length - 1)].focus();
    else if (current) elements.get(current.id).focus({ preventScroll: true });
  }

  function readHash() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const list = (name) => [...new Set((parts.get(name) ?? "").split(",").filter((word) => /^[\w.]+$/.test(word)))];
    pins = list("pin").slice(0, MAX_PINS);
    mode = groupings.findIndex((_, index) => String(index) === parts.get("by"));
    if (mode < 0) mode = 0;
    for (const name of Object.keys(show)) show[name] = DEFAULTS[name] !== list("not").includes(name);
    makeControls();
    draw();
    showPins();
    if (pins.length) announce(`From the link: ${countText()}.`);
  }

  // ---- keyboard and pointer ------------------------------------------------------------------------------------

  function setCurrent(point) {
    if (current && elements.has(current.id)) elements.get(current.id).setAttribute("tabindex", "-1");
    current = point;
    elements.get(point.id).setAttribute("tabindex", "0");
  }

  const byX = (one, other) => one.x - other.x || one.y - other.y;
  const inOrder = () => data.points.filter((point) => elements.has(point.id)).sort(byX);
  const frontInOrder = () => inOrder().filter((point) => point.front);

  function neighbour(points, step) {
    const at = points.indexOf(current);
    if (at >= 0) return points[Math.max(0, Math.min(points.length - 1, at + step))];
    // From a point that is not among them: the next of them in that direction.
    const beyond = points.filter((point) => Math.sign(byX(point, current)) === step);
    return step > 0 ? beyond[0] : beyond[beyond.length - 1];
  }

  function onKey(event) {
    const goals = {
      ArrowRight: () => neighbour(frontInOrder(), 1),
      ArrowLeft: () => neighbour(frontInOrder(), -1),
      ArrowDown: () => neighbour(inOrder(), 1),
      ArrowUp: () => neighbour(inOrder(), -1),
      Home: () => frontInOrder()[0],
      End: () => frontInOrder().at(-1),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !current) return;
    if (event.key === "Enter" || event.key === " ") toggle(current);
    else if (Object.hasOwn(goals, event.key)) goals[event.key]() && elements.get(goals[event.key]().id).focus();
    else return;
    event.preventDefault();
  }

  function nearest(event) {
    const box = svg.getBoundingClientRect();
    const factor = width / box.width;
    const [x, y] = [(event.clientX - box.left) * factor, (event.clientY - box.top) * factor];
    let best = null;
    let least = NEAR;
    for (const point of data.points) {
      const distance = Math.hypot(frame.x(point.x) - x, frame.y(point.y) - y);
      // Of overlapping marks, the one on the front has priority.
      if (distance - (point.front ? 3 : 0) < least && elements.has(point.id)) {
        best = point;
        least = distance - (point.front ? 3 : 0);
      }
    }
    return best;
  }

  function listen() {
    svg.addEventListener("pointerdown", (event) => {
      pointer = event.pointerType;
    });
    svg.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      const point = nearest(event);
      if (point) openCard(point, false);
      else closeSoon();
    });
    stage.addEventListener("pointerleave", (event) => event.pointerType === "touch" || closeSoon());
    card.addEventListener("pointerenter", () => clearTimeout(closing));
    svg.addEventListener("click", (event) => {
      const point = nearest(event);
      if (!point) return closeCard();
      setCurrent(point);
      // Touch has no hover: the first tap shows the details, the second pins.
      if (pointer === "touch" && open !== point) return openCard(point, true);
      openCard(point, pointer === "touch");
      return toggle(point);
    });
    svg.addEventListener("keydown", onKey);
    stage.addEventListener("focusout", (event) => stage.contains(event.relatedTarget) || !held || pointer === "touch" || closeCard());
    document.addEventListener("keydown", (event) => event.key === "Escape" && open && closeCard());
    pinnedBox.querySelector("button").addEventListener("click", () => {
      setPins([]);
      announce("All points are unpinned.");
      if (current) elements.get(current.id).focus({ preventScroll: true });
    });
    window.addEventListener("hashchange", readHash);
    new ResizeObserver(() => Math.floor(stage.clientWidth) === width || draw()).observe(stage);
  }

  document.getElementById("chart").hidden = false;
  readHash();
  listen();
  // A meta element would reload the original address, and lose the pins.
  if (block.dataset.reload) setInterval(() => open || location.reload(), 1000 * Number(block.dataset.reload));
})();

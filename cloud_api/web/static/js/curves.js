/**
 * Curves on canvas: the calibrated strip of an alert, its small twin on a tile, the rate trend.
 * A missing sample is a gap in the line, never a bridge.
 */

import { t } from "./i18n.js";
import { unit as printedUnit } from "./format.js";

/** CSS defines the millimetre as 96/25.4 pixels. */
export const PX_PER_MM = 96 / 25.4;
const MM_PER_MV = 10;
const SHORTEST_ROW_MM = 20;
const TALLEST_ROW_MM = 50;
const OTHER_ROW_MM = 20;
const NS_PER_S = 1e9;

/** @typedef {{startNs: number, endNs: number}} Span */

/** @param {string} name */
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {Ward.StripChannel} channel */
export function colourOf(channel) {
  if (channel.unit === "mV") return token("--ecg");
  if (channel.code.includes("PULS_OXIM")) return token("--spo2");
  if (channel.code.includes("PRESS")) return token("--abp");
  return token("--resp");
}

/**
 * From the first sample of any channel to the last of any.
 * @param {Ward.Strip} strip
 * @returns {Span}
 */
export function spanOf(strip) {
  const starts = strip.channels.map((channel) => channel.start_time_ns);
  const ends = strip.channels.map(
    (channel) => channel.start_time_ns + (channel.samples.length / channel.sampling_rate_hz) * NS_PER_S,
  );
  return { startNs: Math.min(...starts), endNs: Math.max(...ends) };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} width CSS px
 * @param {number} height CSS px
 */
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser gives no 2D canvas");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/**
 * Reach of the delivered samples; a lone spike does not set the scale.
 * @param {(number | null)[]} samples
 */
function reach(samples) {
  const present = /** @type {number[]} */ (samples.filter((value) => value !== null));
  if (!present.length) return { low: -1, high: 1 };
  present.sort((a, b) => a - b);
  /** @param {number} share */
  const at = (share) => present[Math.round(share * (present.length - 1))] ?? 0;
  const [low, high] = [at(0.0005), at(0.9995)];
  return high - low > 1e-6 ? { low, high } : { low: low - 0.5, high: high + 0.5 };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Ward.StripChannel} channel
 * @param {(timeNs: number) => number} x
 * @param {(value: number) => number} y
 */
function trace(context, channel, x, y) {
  const stepNs = NS_PER_S / channel.sampling_rate_hz;
  let drawing = false;
  context.beginPath();
  channel.samples.forEach((value, index) => {
    if (value === null) {
      drawing = false;
      return;
    }
    const [px, py] = [x(channel.start_time_ns + index * stepNs), y(value)];
    if (drawing) context.lineTo(px, py);
    else context.moveTo(px, py);
    drawing = true;
  });
  context.stroke();
}

/**
 * Runs of missing samples at least `shortest` long, as index pairs [from, to).
 * @param {(number | null)[]} samples
 * @param {number} shortest
 * @returns {[number, number][]}
 */
export function gapsOf(samples, shortest) {
  /** @type {[number, number][]} */
  const gaps = [];
  let from = -1;
  for (let index = 0; index <= samples.length; index += 1) {
    const missing = index < samples.length && samples[index] === null;
    if (missing && from < 0) from = index;
    if (!missing && from >= 0) {
      if (index - from >= shortest) gaps.push([from, index]);
      from = -1;
    }
  }
  return gaps;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} width
 * @param {number} height
 */
function grid(context, width, height) {
  for (const [everyMm, colour] of /** @type {const} */ ([[1, "--grid-fine"], [5, "--grid"]])) {
    context.beginPath();
    for (let mm = 0; mm * PX_PER_MM <= width; mm += everyMm) {
      context.moveTo(mm * PX_PER_MM, 0);
      context.lineTo(mm * PX_PER_MM, height);
    }
    for (let mm = 0; mm * PX_PER_MM <= height; mm += everyMm) {
      context.moveTo(0, mm * PX_PER_MM);
      context.lineTo(width, mm * PX_PER_MM);
    }
    context.strokeStyle = token(colour);
    context.lineWidth = everyMm === 5 ? 1 : 0.5;
    context.stroke();
  }
}

/**
 * One channel of a strip on paper: 25 mm/s and 10 mm/mV unless said otherwise.
 * @param {HTMLCanvasElement} canvas
 * @param {Ward.StripChannel} channel
 * @param {Span} span
 * @param {number} onsetNs
 * @param {number} mmPerSecond
 * @returns {string} the scale of this row, for its label
 */
export function drawPaper(canvas, channel, span, onsetNs, mmPerSecond) {
  const pxPerS = mmPerSecond * PX_PER_MM;
  const width = ((span.endNs - span.startNs) / NS_PER_S) * pxPerS;
  const { pxPerUnit, heightMm, middle, scale } = scaleOf(channel);
  const height = heightMm * PX_PER_MM;
  const context = prepare(canvas, width, height);
  /** @param {number} timeNs */
  const x = (timeNs) => ((timeNs - span.startNs) / NS_PER_S) * pxPerS;
  /** @param {number} value */
  const y = (value) => height / 2 - (value - middle) * pxPerUnit;
  grid(context, width, height);
  shadeGaps(context, channel, x, height);
  context.lineJoin = "round";
  context.strokeStyle = colourOf(channel);
  context.lineWidth = 1.4;
  trace(context, channel, x, y);
  markOnset(context, x(onsetNs), width, height);
  markSeconds(context, x, span, onsetNs, height);
  return scale;
}

/** @param {Ward.StripChannel} channel */
function scaleOf(channel) {
  const { low, high } = reach(channel.samples);
  const middle = (low + high) / 2;
  if (channel.unit === "mV") {
    let mmPerMv = MM_PER_MV;
    while (mmPerMv > 1.25 && (high - low) * mmPerMv > TALLEST_ROW_MM - 5) mmPerMv /= 2;
    const neededMm = (high - low) * mmPerMv + 6;
    const heightMm = Math.min(TALLEST_ROW_MM, Math.max(SHORTEST_ROW_MM, Math.ceil(neededMm / 5) * 5));
    return { pxPerUnit: mmPerMv * PX_PER_MM, heightMm, middle, scale: `${mmPerMv} mm/mV` };
  }
  const usedPx = (OTHER_ROW_MM - 4) * PX_PER_MM;
  const digits = high - low < 5 ? 1 : 0;
  const scale = `${low.toFixed(digits)} – ${high.toFixed(digits)} ${printedUnit(channel.unit)}`;
  return {
    pxPerUnit: usedPx / (high - low),
    heightMm: OTHER_ROW_MM,
    middle,
    scale: scale.trim(),
  };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Ward.StripChannel} channel
 * @param {(timeNs: number) => number} x
 * @param {number} height
 */
function shadeGaps(context, channel, x, height) {
  const stepNs = NS_PER_S / channel.sampling_rate_hz;
  for (const [from, to] of gapsOf(channel.samples, 2)) {
    const left = x(channel.start_time_ns + from * stepNs);
    const right = x(channel.start_time_ns + to * stepNs);
    context.fillStyle = token("--gap");
    context.fillRect(left, 0, right - left, height);
    if (right - left < 60) continue;
    context.fillStyle = token("--muted");
    context.font = `11px ${token("--font")}`;
    context.textAlign = "center";
    context.fillText(t("strip.gap"), (left + right) / 2, height / 2);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} width
 * @param {number} height
 */
function markOnset(context, x, width, height) {
  if (x < 0 || x > width) return;
  context.strokeStyle = token("--text");
  context.lineWidth = 1;
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, height);
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = token("--text");
  context.beginPath();
  context.moveTo(x - 5, 0);
  context.lineTo(x + 5, 0);
  context.lineTo(x, 8);
  context.fill();
  context.font = `600 11px ${token("--font")}`;
  context.textAlign = "left";
  context.fillText(t("strip.onset"), x + 8, 11);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {(timeNs: number) => number} x
 * @param {Span} span
 * @param {number} onsetNs
 * @param {number} height
 */
function markSeconds(context, x, span, onsetNs, height) {
  context.fillStyle = token("--muted");
  context.font = `10px ${token("--font")}`;
  context.textAlign = "center";
  const first = Math.ceil((span.startNs - onsetNs) / NS_PER_S);
  const last = Math.floor((span.endNs - onsetNs) / NS_PER_S);
  for (let second = first; second <= last; second += 1) {
    if (second === 0) continue;
    const label = `${second > 0 ? "+" : "−"}${Math.abs(second)} s`;
    context.fillText(label, x(onsetNs + second * NS_PER_S), height - 3);
  }
}

/**
 * The first ECG channel (else the first of any) around the onset, scaled to the canvas.
 * @param {HTMLCanvasElement} canvas
 * @param {Ward.Strip} strip
 * @param {number} beforeS
 * @param {number} afterS
 */
export function drawMiniature(canvas, strip, beforeS = 3, afterS = 6) {
  const channel = strip.channels.find(({ unit }) => unit === "mV") ?? strip.channels[0];
  const { width, height } = sizeOf(canvas);
  const context = prepare(canvas, width, height);
  if (!channel) return;
  const span = spanOf(strip);
  const startNs = Math.max(span.startNs, strip.onset_time_ns - beforeS * NS_PER_S);
  const endNs = Math.min(span.endNs, startNs + (beforeS + afterS) * NS_PER_S);
  const from = Math.max(0, Math.floor(((startNs - channel.start_time_ns) / NS_PER_S) * channel.sampling_rate_hz));
  const to = Math.ceil(((endNs - channel.start_time_ns) / NS_PER_S) * channel.sampling_rate_hz);
  const shown = {
    ...channel,
    samples: channel.samples.slice(from, to),
    start_time_ns: channel.start_time_ns + (from / channel.sampling_rate_hz) * NS_PER_S,
  };
  const { low, high } = reach(shown.samples);
  /** @param {number} timeNs */
  const x = (timeNs) => ((timeNs - startNs) / (endNs - startNs)) * width;
  /** @param {number} value */
  const y = (value) => 4 + ((high - value) / (high - low)) * (height - 8);
  const onsetX = x(strip.onset_time_ns);
  context.fillStyle = token("--after-onset");
  context.fillRect(onsetX, 0, width - onsetX, height);
  context.strokeStyle = token("--muted");
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(onsetX, 0);
  context.lineTo(onsetX, height);
  context.stroke();
  context.setLineDash([]);
  context.lineJoin = "round";
  context.lineWidth = 1.2;
  context.strokeStyle = colourOf(channel);
  trace(context, shown, x, y);
}

/**
 * Whole minutes that hold all of `points`.
 * @param {import("./store.js").TrendPoint[]} points
 */
export function trendMinutes(points) {
  const spanMs = (points.at(-1)?.timeMs ?? 0) - (points[0]?.timeMs ?? 0);
  return Math.max(1, Math.ceil(spanMs / 60_000 - 0.05));
}

/**
 * Heart rate of the last minutes; a pause of more than two seconds is a gap.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./store.js").TrendPoint[]} points
 */
export function drawTrend(canvas, points) {
  const { width, height } = sizeOf(canvas);
  const context = prepare(canvas, width, height);
  const values = points.flatMap(({ value }) => (value === null ? [] : [value]));
  const last = points.at(-1);
  if (!last || values.length < 2) return;
  const windowMs = trendMinutes(points) * 60_000;
  const low = Math.min(...values) - 4;
  const high = Math.max(Math.max(...values) + 4, low + 24);
  context.strokeStyle = token("--ecg");
  context.globalAlpha = 0.75;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  let previousMs = -Infinity;
  for (const { timeMs, value } of points) {
    if (value === null) {
      previousMs = -Infinity;
      continue;
    }
    const x = width - ((last.timeMs - timeMs) / windowMs) * width;
    const y = height - 2 - ((value - low) / (high - low)) * (height - 4);
    if (timeMs - previousMs > 2_500) context.moveTo(x, y);
    else context.lineTo(x, y);
    previousMs = timeMs;
  }
  context.stroke();
}

/** @param {HTMLCanvasElement} canvas */
function sizeOf(canvas) {
  const box = canvas.parentElement?.getBoundingClientRect();
  return { width: Math.floor(box?.width ?? 0), height: Math.floor(box?.height ?? 0) };
}

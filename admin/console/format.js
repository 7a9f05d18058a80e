"use strict";
// How console.js writes elements, numbers and times.

const svgNS = "http://www.w3.org/2000/svg";
const svg = (name, attributes = {}, text = "") => {
  const e = document.createElementNS(svgNS, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text) e.textContent = text;
  return e;
};
const html = (name, className = "", text = "") => {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text) e.textContent = text;
  return e;
};
const setText = (e, text) => { if (e && e.textContent !== text) e.textContent = text; };
const setAttribute = (e, name, value) => { if (e.getAttribute(name) !== String(value)) e.setAttribute(name, value); };

// Numbers of axes and of what is under the pointer, written as the server writes them.
const digits = (v) => {
  if (v >= 99.95) return Math.round(v).toLocaleString("en");
  let power = 10;
  for (let least = 9.995; v < least && power < 1e4; least /= 10) power *= 10;
  return String(Math.round(v * power) / power);
};
const formats = {
  rate: (v) => v > 0 && v < 0.1 ? "under 0.1/s" : v >= 999.5e3 ? digits(v / 1e6) + " M/s" : digits(v) + "/s",
  count: digits,
  seconds: (v) => v <= 0 ? "–" : v < 0.9995e-3 ? digits(v * 1e6) + " µs" : v < 0.9995 ? digits(v * 1e3) + " ms" : digits(v) + " s",
  bytes: (v) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    while (units.length > 1 && v >= 1023.5) { v /= 1024; units.shift(); }
    return digits(v) + " " + units[0];
  },
  percent: (v) => {
    const p = 100 * v;
    if (p > 0 && p < 0.01) return "under 0.01 %";
    if (p >= 9.95) return Math.round(p).toLocaleString("en") + " %";
    let power = 1;
    for (let least = 9.95; p < least && power < 1e3; least /= 10) power *= 10;
    return Math.round(p * power) / power + " %";
  },
};
// niceSteps returns round numbers from 0 to most or a little more.
const niceSteps = (most, unit) => {
  const base = unit === "bytes" ? 1024 ** Math.floor(Math.log(Math.max(most, 1)) / Math.log(1024)) : 1;
  const raw = most / base / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * 0.999) * power * base;
  const list = [];
  for (let v = 0; list.length < 2 || list[list.length - 1] < most * 0.999; v += step) list.push(v);
  return list;
};
// Times of day are UTC, as in the words of the server.
const hms = (t) => new Date(t).toISOString().slice(11, 19);
const hm = (t) => hms(t).slice(0, 5);
const now = () => performance.now(); // clocks are set

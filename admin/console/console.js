"use strict";
// The page is made on the server. This script puts the same words into it again, once a
// second, and draws the charts.

(() => {
  const root = document.documentElement;
  const theme = { get: () => { try { return localStorage.getItem("theme") || ""; } catch { return ""; } },
                  set: (v) => { try { localStorage.setItem("theme", v); } catch { /* not kept */ } } };
  const showTheme = (v) => { if (v) root.dataset.theme = v; else delete root.dataset.theme; };
  showTheme(theme.get()); // before anything is shown

  document.addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("theme");
    if (!select) return; // another page
    select.value = theme.get();
    select.addEventListener("change", () => { theme.set(select.value); showTheme(select.value); });
    document.getElementById("controls").hidden = false;
    start();
  });

  const start = () => {
    const byID = (id) => document.getElementById(id);
    const reduced = matchMedia("(prefers-reduced-motion: reduce)");
    const aloud = byID("aloud"), live = byID("live"), pause = byID("pause"), span = byID("span");
    let data = null;      // the history that is shown, of which uptime and sample are the end
    const recent = [];    // the last samples, for a history that comes later than they do
    let first = null;     // the first sample of the page
    let started = "";     // when the server was started
    let last = null;      // the last frame
    let spoken = 0, drawn = 0, wanted = 0, asked = 0;

    // --- what is read aloud

    const sayEvery = 60 * 1000;
    const say = (text) => { spoken = now(); aloud.textContent = text; };

    // --- tips

    // probe shows what describe(i) says of the one of n things that is under the pointer,
    // or that arrow keys have led to. place(i) is where it lies, as a part of the width.
    const probe = (box, target, name, n, place, describe, mark) => {
      const tip = html("div", "tip");
      tip.hidden = true;
      box.append(tip);
      let at = -1;
      const show = (i) => {
        at = i;
        tip.hidden = i < 0;
        if (mark) mark(i);
        if (i < 0) return;
        const [title, ...lines] = describe(i);
        tip.replaceChildren(html("b", "", title), ...lines.map((l) => html("div", "", l)));
        const outer = box.getBoundingClientRect(), inner = target.getBoundingClientRect();
        const x = inner.left - outer.left + place(i, inner.width);
        const left = x + 14 + tip.offsetWidth <= outer.width ? x + 14 : x - 14 - tip.offsetWidth;
        tip.style.left = Math.max(0, left) + "px";
      };
      const nearest = (x, width) => {
        let low = 0, high = n() - 1;
        while (low < high) {
          const middle = (low + high) >> 1;
          if ((place(middle, width) + place(middle + 1, width)) / 2 < x) low = middle + 1; else high = middle;
        }
        return high;
      };
      target.addEventListener("pointermove", (e) => {
        const r = target.getBoundingClientRect();
        show(nearest(e.clientX - r.left, r.width));
      });
      target.addEventListener("pointerleave", () => show(-1));
      target.addEventListener("blur", () => show(-1));
      target.setAttribute("tabindex", "0");
      target.addEventListener("keydown", (e) => {
        const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -1e9, End: 1e9 };
        if (e.key === "Escape") { show(-1); return; }
        if (!(e.key in steps) || n() === 0) return;
        e.preventDefault();
        show(Math.min(Math.max((at < 0 ? n() - 1 : at) + steps[e.key], 0), n() - 1));
        say(name + ": " + describe(at).join(", "));
      });
      return { again: () => { if (at >= 0) show(Math.min(at, n() - 1)); } };
    };

    // --- charts

    const charts = [...document.querySelectorAll(".chart")].map((box) => {
      const series = box.dataset.series.split(" ").map((s) => { const [key, label] = s.split(":"); return { key, label }; });
      const unit = box.dataset.unit, title = box.dataset.title, format = formats[unit];
      const picture = svg("svg", { role: "img", "aria-label": title });
      const legend = html("ul", "legend");
      legend.setAttribute("aria-label", "Lines of the chart");
      series.forEach((s, i) => {
        const key = svg("svg", { class: "key", viewBox: "0 0 22 10", "aria-hidden": "true" });
        key.append(svg("line", { x1: 0, x2: 22, y1: 5, y2: 5, class: "c" + i }));
        const item = html("li");
        item.append(key, s.label);
        legend.append(item);
      });
      box.append(picture, legend);

      const top = 8, bottom = 22, left = 62, right = 8;
      let width = 0, height = 0, columns = [], least = 0, most = 0;
      const x = (part) => left + part * (width - left - right);
      // Times have a logarithmic scale: the slowest are a thousand times the usual ones.
      const logarithmic = unit === "seconds";
      const part = (v) => logarithmic ? Math.max(0, Math.log(v / least) / Math.log(most / least)) : v / most;
      const y = (v) => height - bottom - part(v) * (height - top - bottom);
      const place = (i) => x(columns[i].part);
      // A server that was started just now has a short history, which fills the chart all the same.
      const shown = () => Math.min(data.length, Math.max(data.series[series[0].key].length, 60 / data.step));
      const marks = svg("g");
      const mark = (i) => {
        marks.replaceChildren();
        if (i < 0) return;
        marks.append(svg("line", { class: "cursor", x1: place(i), x2: place(i), y1: top, y2: height - bottom }));
        columns[i].values.forEach((v, k) => { if (v !== null) marks.append(svg("circle", { class: "c" + k, cx: place(i), cy: y(v), r: 3 })); });
      };
      const describe = (i) => [hms(columns[i].time) + " UTC", ...series.map((s, k) => s.label + " " + (columns[i].values[k] === null ? "–" : format(columns[i].values[k])))];
      const tip = probe(box, picture, title, () => columns.length, place, describe, mark);

      // collect makes one column of all points that fall on two pixels.
      const collect = () => {
        const lists = series.map((s) => data.series[s.key]), n = lists[0].length;
        const room = shown(), each = Math.max(1, Math.ceil(room / ((width - left - right) / 2)));
        columns = [];
        most = 0;
        least = Infinity;
        // Whole columns are counted from the start of the server on, so that they don't flicker as time goes on.
        const offset = Math.round(data.uptime / data.step) - (n - 1);
        for (let i = 0; i < n;) {
          const next = Math.min(n, i + each - ((offset + i) % each + each) % each);
          const values = lists.map((list) => {
            let sum = 0, count = 0, peak = 0;
            for (let k = i; k < next; k++) if (list[k] !== null) { sum += list[k]; count++; peak = Math.max(peak, list[k]); }
            return count === 0 ? null : unit === "seconds" ? peak : sum / count;
          });
          const middle = (i + next - 1) / 2;
          for (const v of values) if (v > 0) { most = Math.max(most, v); least = Math.min(least, v); }
          columns.push({ part: 1 - (n - 1 - middle) / Math.max(room - 1, 1), time: data.ends - (n - 1 - middle) * data.step * 1000, values });
          i = next;
        }
      };
      const decades = () => {
        if (!most) { least = 1e-6; most = 1e-3; }
        const first = Math.floor(Math.log10(least) + 1e-9), last = Math.max(Math.ceil(Math.log10(most) - 1e-9), first + 1);
        least = 10 ** first;
        return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
      };
      const axes = () => {
        const steps = logarithmic ? decades() : niceSteps(Math.max(most, unit === "bytes" ? 1024 : 1), unit);
        most = steps[steps.length - 1];
        const list = [];
        for (const v of steps) {
          list.push(svg("line", { class: "gridline", x1: left, x2: width - right, y1: y(v), y2: y(v) }));
          list.push(svg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, format(v)));
        }
        const seconds = shown() * data.step, count = width < 420 ? 2 : 4, clock = seconds < 1200 ? hms : hm;
        for (let i = 0; i <= count; i++) {
          const anchor = i === 0 ? "start" : i === count ? "end" : "middle";
          list.push(svg("text", { x: x(i / count), y: height - 5, "text-anchor": anchor }, clock(data.ends - seconds * 1000 * (1 - i / count))));
        }
        return list;
      };
      const lines = () => series.map((s, k) => {
        let d = "", on = false;
        columns.forEach((c) => {
          const v = c.values[k];
          if (v === null) { on = false; return; }
          d += (on ? "L" : "M") + x(c.part).toFixed(1) + " " + y(v).toFixed(1);
          if (!on) d += "h.1"; // a point alone is seen too
          on = true;
        });
        return svg("path", { class: "c" + k, d: d || "M0 0" });
      });
      const draw = () => {
        ({ width, height } = picture.getBoundingClientRect());
        if (!data || width < 100) return;
        collect();
        const back = axes();
        picture.replaceChildren(...back, ...lines().reverse(), marks);
        const newest = columns.length ? columns[columns.length - 1].values : [];
        setAttribute(picture, "aria-label", title + ", the last " + span.selectedOptions[0].text + ". Now " +
          series.map((s, k) => s.label + " " + (newest[k] == null ? "none" : format(newest[k]))).join(", ") + ". Arrow keys read values.");
        tip.again();
      };
      return draw;
    });
    const draw = () => { drawn = now(); charts.forEach((d) => d()); };
    new ResizeObserver(draw).observe(byID("main"));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) draw(); });

    const load = async () => {
      const mine = ++wanted;
      asked = now();
      try {
        const answer = await fetch("stats/history?span=" + span.value);
        if (!answer.ok || mine !== wanted) return;
        const h = await answer.json();
        if (mine !== wanted) return;
        const length = { "15m": 900, "2h": 7200, "24h": 1440 }[span.value];
        data = { step: h.step_seconds, sample: h.sample, uptime: h.uptime_seconds, ends: Date.parse(h.ends), length, series: h.series };
        recent.forEach(add);
        draw();
      } catch { /* the stream tells that there is no connection */ }
    };
    span.addEventListener("change", load);

    // add puts the newest values behind the history. How they follow each other their numbers and
    // the uptime tell: clocks are set. Time without a sample is a gap.
    const add = (stats) => {
      if (data && stats.sample <= data.sample) return;
      const steps = data ? Math.round(stats.server.uptime_seconds) - data.uptime : 0;
      if (!data || (data.step > 1 ? steps >= 2 * data.step : stats.sample !== data.sample + 1 || steps > data.length)) {
        if (now() - asked > 10000) load();
        return;
      }
      if (data.step > 1 || steps <= 0) return;
      for (const [name, list] of Object.entries(data.series)) {
        for (let i = 1; i < steps; i++) list.push(null);
        list.push(name in stats.last ? stats.last[name] : null);
        if (list.length > data.length) list.splice(0, list.length - data.length);
      }
      data.sample = stats.sample;
      data.uptime += steps;
      data.ends += steps * 1000;
      const time = Date.parse(stats.time);
      if (Math.abs(time - data.ends) > 2000) data.ends = time;
    };

    // --- bars

    const bars = byID("bars"), steps = byID("steps");
    const waitClass = (part) => part < 0.001 ? "w0" : part < 0.01 ? "w1" : part < 0.1 ? "w2" : "w3";
    const setBars = (picture, values, className) => {
      const most = Math.max(1, ...values);
      values.forEach((v, i) => {
        const height = Math.round(1000 * v / most) / 10, e = picture.children[i];
        setAttribute(e, "height", height);
        setAttribute(e, "y", Math.round(10 * (100 - height)) / 10);
        setAttribute(e, "class", className(i));
      });
    };
    const tips = [];
    const probeBars = (picture, values, describe) => {
      const room = Number(picture.getAttribute("viewBox").split(" ")[2]);
      tips.push(probe(picture.parentElement, picture, picture.getAttribute("aria-label"), () => values().length, (i, width) => (i + 0.5) / room * width, describe));
    };
    const whole = (n) => Math.round(n).toLocaleString("en");
    if (bars) probeBars(bars, () => last ? last.stats.shards.sessions : [], (i) => {
      const s = last.stats.shards, per = s.shards_per_bar;
      return [per > 1 ? "Shards " + i * per + " to " + (i * per + per - 1) : "Shard " + i, whole(s.sessions[i]) + " sessions", "waits " + formats.percent(s.lock_wait[i] / per) + " of the time"];
    });
    if (steps) probeBars(steps, () => last ? last.stats.expiring.sessions : [], (i) => {
      const e = last.stats.expiring, minutes = e.step_seconds / 60;
      return ["In " + i * minutes + " to " + (i + 1) * minutes + " minutes", (e.exact ? "" : "about ") + whole(e.sessions[i]) + " sessions"];
    });

    // --- the numbers

    const gaugeNames = { sessions: "sessions", memory: "memory_bytes", disk: "disk_bytes", connections: "connections" };
    const madeAt = byID("time").textContent;
    const showTime = (before, after) => {
      live.className = "live quiet";
      live.replaceChildren(before, Object.assign(html("span", "", last ? hms(last.stats.time) + " UTC" : madeAt), { id: "time" }), after);
    };
    const show = (f, note) => {
      last = f;
      const s = f.stats;
      for (const e of document.querySelectorAll("[data-text]")) {
        const text = f.text[e.dataset.text];
        if (text !== undefined) setText(e, text);
      }
      for (const e of document.querySelectorAll("[data-gauge]")) {
        const g = s.capacity[gaugeNames[e.dataset.gauge]];
        if (!g || !g.limit) continue;
        const percent = Math.min(Math.round(1000 * g.used / g.limit) / 10, 100);
        setAttribute(e, "width", percent);
        setAttribute(e, "class", percent >= 95 ? "over" : percent >= 80 ? "near" : "calm");
      }
      if (bars) setBars(bars, s.shards.sessions, (i) => waitClass(s.shards.lock_wait[i] / s.shards.shards_per_bar));
      if (steps) setBars(steps, s.expiring.sessions, () => "w1");
      const state = byID("state"), className = "state " + (s.server.ready ? "good" : "bad");
      if (state.className !== className) { state.className = className; say(f.text.status); }
      showTime("As of ", note);
      document.body.dataset.sample = s.sample;
      recent.push(s);
      recent.splice(0, recent.length - 60);
      add(s);
      tips.forEach((t) => t.again());
      if (!document.hidden && now() - drawn >= (reduced.matches ? 10000 : 900)) draw();
      if (now() - spoken >= sayEvery) say(f.summary);
    };

    // --- the stream

    // A browser has six connections to a server. Pages take four of them at most for streams,
    // so that others load; without a stream they ask for one event after the other. A stream has
    // a lease in the storage of the browser: beyond loopback plain HTTP has no Web Locks.
    const slots = 4, leaseTime = 12000;
    const takeSlot = async () => {
      const me = String(Math.random());
      const holder = (key) => {
        const [who, until] = (localStorage.getItem(key) || "").split(" "), left = until - Date.now();
        return left > 0 && left <= leaseTime ? who : ""; // clocks are set
      };
      try {
        for (let i = 0; i < slots; i++) {
          const key = "stream " + i, renew = () => localStorage.setItem(key, me + " " + (Date.now() + leaseTime));
          if (holder(key)) continue;
          renew();
          await new Promise((done) => setTimeout(done, 50)); // another page may have found it free too
          if (holder(key) === me) return { renew, release: () => { if (holder(key) === me) localStorage.removeItem(key); } };
        }
      } catch { /* there is no storage */ }
      return null;
    };
    const silent = 10000; // without an event a stream is given up, before its lease ends
    let stream = null, slot = null, attempt = 0, lostAt = 0, timer = 0, patience = 0, paused = false;
    // fits says whether the page that there is can show a sample: another server may have come.
    const fits = (s) => (s.shards ? s.shards.sessions.length : 0) === (bars ? bars.children.length : 0) &&
      (!first || ["mode", "version", "commit"].every((k) => first.server[k] === s.server[k]) &&
        String(first.server.warnings) === String(s.server.warnings) && !s.disk === !first.disk && !s.engine === !first.engine);
    const receive = (f, note) => {
      if (!fits(f.stats)) { location.reload(); return; }
      first = first || f.stats;
      const another = started && started !== f.stats.server.started;
      if (another) { data = null; recent.length = 0; } // samples are counted anew
      if (lostAt || another) load();
      if (lostAt) { lostAt = 0; say("Connected again."); }
      started = f.stats.server.started;
      show(f, note);
    };
    const lost = (why) => {
      if (!lostAt) {
        lostAt = Date.now();
        byID("state").className = "state quiet";
        say(why + ".");
      }
      live.className = "live lost";
      setText(live, why + " since " + hms(lostAt) + " UTC. Trying again …");
    };
    const disconnect = () => {
      attempt++;
      clearTimeout(timer);
      clearTimeout(patience);
      if (stream) stream.close();
      if (slot) slot.release();
      stream = slot = null;
    };
    // connect has a page that is shown follow the server.
    const connect = async () => {
      disconnect();
      if (paused || document.hidden) return;
      const mine = attempt, taken = await takeSlot();
      if (mine !== attempt) { if (taken) taken.release(); return; }
      if (!taken) { poll(2, "other windows have the streams"); return; }
      slot = taken;
      stream = new EventSource("stats/stream");
      const end = (refused) => {
        disconnect();
        if (refused) poll(5, "too many look at this server"); else poll(1.5, "");
      };
      const wait = () => { clearTimeout(patience); patience = setTimeout(() => end(false), silent); };
      stream.onmessage = (e) => { wait(); taken.renew(); receive(JSON.parse(e.data), ""); };
      stream.onerror = () => end(stream.readyState === EventSource.CLOSED); // else there was no answer
      wait();
    };
    // poll asks for one event, and after some seconds for a stream again.
    const poll = async (seconds, why) => {
      const mine = attempt;
      let f = null, problem = "No connection";
      try {
        const answer = await fetch("stats/event", { signal: AbortSignal.timeout(5000) });
        if (answer.ok) f = await answer.json(); else problem = "The server answers " + answer.status;
      } catch { /* no connection */ }
      if (mine !== attempt) return;
      if (f) receive(f, why && ", every " + seconds + " s: " + why); else lost(problem);
      timer = setTimeout(connect, 1000 * (f ? seconds : 1.5));
    };
    pause.addEventListener("click", () => {
      paused = !paused;
      setText(pause, paused ? "Go on" : "Pause");
      connect();
      if (paused) showTime("Paused as of ", ""); else load();
    });
    document.addEventListener("visibilitychange", () => {
      connect();
      if (!document.hidden && !paused) load();
    });
    addEventListener("pageshow", (e) => { if (e.persisted) connect(); });
    addEventListener("pagehide", disconnect);
    spoken = now();
    load();
    connect();
  };
})();

// The page of `savos view`: draws what comes over one WebSocket. No build step, no other files.
"use strict";

const $ = (id) => document.getElementById(id);
const TABLE_MS = 250; // least time between two changes of the table: it must stay legible
const PACKET_HEAD = 12; // three lengths of 4 bytes: facts, amodal picture, visible picture

let socket = null, retryMs = 500;
let status = {}, seen = 0, drawn = 0, newest = [], timer = null, seeking = false;

// ---- connection

function say(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function connect() {
  socket = new WebSocket(`ws://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    retryMs = 500;
    say({do: "watch", on: !document.hidden});
    say({do: "compare", on: $("compare").checked});
  };
  socket.onmessage = (event) => typeof event.data === "string" ? showStatus(JSON.parse(event.data)) : showPacket(event.data);
  socket.onclose = (event) => {
    showState("no connection", 2, event.reason || "trying again: is savos view running, and are not too many pages open?");
    setTimeout(connect, retryMs);
    retryMs = Math.min(2 * retryMs, 8000);
  };
}

document.addEventListener("visibilitychange", () => say({do: "watch", on: !document.hidden}));

// ---- pictures

async function showPacket(buffer) {
  const number = ++seen;
  const [facts, amodal, visible] = [0, 4, 8].map((at) => new DataView(buffer).getUint32(at, true));
  const begin = PACKET_HEAD + facts;
  const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, PACKET_HEAD, facts)));
  try {
    const pictures = await Promise.all([[begin, amodal], [begin + amodal, visible]].map(
      ([from, length]) => length ? createImageBitmap(new Blob([new Uint8Array(buffer, from, length)], {type: "image/jpeg"})) : null));
    if (number > drawn) {
      drawn = number;
      paint($("amodal"), pictures[0]);
      if (pictures[1]) paint($("visible"), pictures[1]);
      showCompared(Boolean(pictures[1]));
      $("empty").hidden = true;
      showFrame(frame);
    }
  } finally {
    say({do: "drawn"});
  }
}

function paint(canvas, picture) {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
}

function showCompared(there) {
  const on = there && $("compare").checked;
  $("screen").classList.toggle("compared", on);
  for (const item of [$("visible"), $("split"), ...document.querySelectorAll(".tag")]) item.hidden = !on;
}

function showFrame(frame) {
  $("age").textContent = frame.age_ms == null ? "–" : `${Math.round(frame.age_ms)} ms`;
  document.body.dataset.stamp = frame.stamp;
  newest = frame.tracks;
  timer ??= setTimeout(showTracks, TABLE_MS);
}

function showTracks() {
  timer = null;
  const tracks = newest.sort((a, b) => a.id.localeCompare(b.id, "en", {numeric: true}));
  $("count").textContent = tracks.length;
  $("tracks").replaceChildren(...tracks.map((track) => {
    const name = cell(track.id);
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.style.setProperty("--chip", track.color);
    name.prepend(chip);
    return row(name, cell(track.class || "–"), share(track.hidden), share(track.confidence), cell(track.source));
  }));
}

// ---- tables; texts from outside are only ever set as text

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function cell(text, kind = "td") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (kind === "th") made.scope = "row";
  return made;
}

function share(value) {
  const made = cell(value == null ? "–" : `${Math.round(100 * value)}%`);
  made.className = "number share";
  made.style.setProperty("--share", value ?? 0);
  return made;
}

function fill(body, rows, nothing) {
  const none = cell(nothing);
  none.className = "none";
  body.replaceChildren(...(rows.length ? rows : [row(none)]));
}

// ---- status

function showState(state, level, message) {
  $("state").textContent = state;
  $("state").dataset.level = $("message").dataset.level = level;
  $("message").textContent = message;
}

function showStatus(now) {
  status = now;
  const values = now.values, bag = now.kind === "bag";
  showState(now.state, now.level, now.message);
  document.title = `${now.name} · savos view`;
  $("name").textContent = now.name;
  $("rate").textContent = values.rate_hz ? `${Number(values.rate_hz).toFixed(1)} Hz` : "–";
  $("frames").textContent = bag ? `${now.ready} / ${now.frames}` : values.frames_out ?? "–";
  $("drops").textContent = values.drops ?? "–";
  $("age-fact").hidden = bag;
  showTables(values);
  showPlayer(now, bag);
  showControl(now, bag);
}

function showTables(values) {
  const stages = {};
  const losses = [];
  for (const [key, value] of Object.entries(values)) {
    const [group, name, part] = key.split(".");
    if (group === "latency_ms") (stages[name] ??= {})[part] = Number(value).toFixed(1);
    else if (group === "drops" && name) losses.push(row(cell(name.replaceAll("_", " "), "th"), cell(value)));
  }
  fill($("stages"), Object.entries(stages).map(([name, of]) =>
    row(cell(name, "th"), cell(of.p50), cell(of.p95), cell(of.p99))), "not measured yet");
  fill($("losses"), losses, "none");
  const facts = ["weights", "backend", "queue", "adapt", "adapt.version", "refine"].filter((key) => values[key]);
  fill($("engine"), facts.map((key) => row(cell(key, "th"), cell(values[key]))), status.kind === "bag" ? status.message : "unknown");
}

// ---- a bag's player

function showPlayer(now, bag) {
  $("player").hidden = !bag;
  if (!bag) return;
  $("play").classList.toggle("playing", now.playing);
  $("play").setAttribute("aria-label", now.playing ? "Pause" : "Play");
  $("seek").max = Math.max(now.frames - 1, 0);
  if (!seeking) $("seek").value = now.frame;
  $("where").textContent = `${now.frame + 1} / ${now.frames}`;
  if (document.activeElement !== $("speed")) $("speed").value = String(now.speed);
}

const step = (by) => say({do: "step", value: by});
const toggle = () => say({do: status.playing ? "pause" : "play"});
$("play").onclick = toggle;
$("back").onclick = () => step(-1);
$("on").onclick = () => step(1);
$("seek").oninput = () => {
  seeking = true;
  $("where").textContent = `${Number($("seek").value) + 1} / ${status.frames}`;
};
$("seek").onchange = () => {
  say({do: "seek", value: Number($("seek").value)});
  seeking = false;
};
$("speed").onchange = () => say({do: "speed", value: Number($("speed").value)});
$("split").oninput = () => $("screen").style.setProperty("--at", $("split").value / 100);
$("compare").onchange = () => {
  say({do: "compare", on: $("compare").checked});
  if (!$("compare").checked) showCompared(false);
};

document.addEventListener("keydown", (event) => {
  const takes = ["INPUT", "SELECT", "BUTTON"].includes(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "c") $("compare").click();
  else if (takes || status.kind !== "bag") return;
  else if (event.key === " ") toggle();
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});

// ---- orders; the token comes behind # of the address, which browsers never send

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}

function showControl(now, bag) {
  $("control").hidden = bag || !now.control;
  const token = sessionStorage.getItem("token");
  for (const button of document.querySelectorAll("[data-order]")) {
    button.disabled = !token;
    button.title = token ? "" : "open the address that savos view has printed, with its token";
  }
  $("adapt").textContent = adapting() ? "adapt: stop" : "adapt: start";
}

const adapting = () => (status.values?.adapt ?? "off") !== "off";

async function order(button) {
  if (button.dataset.sure && !confirm(button.dataset.sure)) return;
  const name = button.dataset.order, shown = $("answer");
  try {
    const answer = await fetch(`/api/${name}`, {
      method: "POST",
      headers: {"Content-Type": "application/json", "X-Savos-Token": sessionStorage.getItem("token")},
      body: JSON.stringify({on: !adapting()}),
    });
    const text = await answer.text();
    shown.classList.toggle("bad", !answer.ok);
    shown.textContent = answer.headers.get("Content-Type").includes("json") ? JSON.parse(text).text : text;
  } catch (error) {
    shown.classList.add("bad");
    shown.textContent = `${name}: ${error.message}`;
  }
}
for (const button of document.querySelectorAll("[data-order]")) button.onclick = () => order(button);

connect();

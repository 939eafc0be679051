// The page of `zse draw`: what is drawn is searched with after every stroke, and what is found is shown.
import {LINES, html} from "./overlay.js";
import {Explanation} from "./explanation.js";
import {Hits, shortName} from "./hits.js";
import {Lines} from "./lines.js";
import {Paper} from "./paper.js";
import {Refused, address, ask, isAborted, isSuperseded} from "./server.js";

const REST = 150;  // milliseconds after which a hand rests
const QUIET = 1000;  // between two sentences of the live region
const SAMPLE = 18;  // photos that are shown before anything is drawn
const LONGEST = 1600;  // pixels of a picture that is made smaller because its file is too large
const $ = id => document.getElementById(id);
const number = value => value.toLocaleString("en");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

const paper = new Paper($("paper"), $("canvas"), $("cursor"));
const hits = new Hits($("hits")), lines = new Lines($("overlay"), $("canvas")), explanation = new Explanation();
let gallery = {photos: 0, tokens: false, groups: [], top: 24};
let seq = -1;  // the number of the drawing, which grows with every change; of the blank paper it is 0
let search = null;  // what is shown or looked for: {seq, by, body, like, total, isDone}; null where nothing is
let running = new AbortController();  // of requests that the next change makes needless
let rest = 0, pointed = null;

// what is said

let nextSay = 0, sayTimer = 0;
/** A sentence for the live region, the last one of a second. */
function say(text) {
  clearTimeout(sayTimer);
  const wait = Math.max(0, nextSay - performance.now());
  sayTimer = setTimeout(() => {
    nextSay = performance.now() + QUIET;
    $("live").textContent = text;
  }, wait);
}

/** What goes wrong is shown until something goes well. */
function complain(error) {
  if (isAborted(error) || isSuperseded(error)) return;
  $("about").textContent = "";
  const isGone = !(error instanceof Refused);
  if (isGone && !(error instanceof TypeError)) throw error;
  $("trouble").textContent = isGone ? "zse draw does not answer any more. Start it again, and open the address that it prints." : [error.message, error.hint].filter(Boolean).join(": ") + ".";
  $("trouble").hidden = false;
}

function tellOfPicture(text) {
  $("said").textContent = text;
  $("said").hidden = !text;
  if (text) say(text);
}

/** On a narrow page what is beside the paper makes room for the photos, as soon as something is drawn. */
const isNarrow = matchMedia("(max-width: 699px)");
function foldTools() { $("beside").open = !isNarrow.matches || paper.isEmpty; }
isNarrow.addEventListener("change", foldTools);

// searching

function forget() {
  running.abort();
  asking.abort();
  running = new AbortController();
  clearTimeout(rest);
  pointed = null;
  lines.clear();
}

async function onChange() {
  forget();
  seq += 1;
  search = null;
  $("undo").disabled = !paper.canUndo;
  $("redo").disabled = !paper.canRedo;
  $("clear").disabled = $("save-png").disabled = $("save-svg").disabled = paper.isEmpty;
  $("invitation").hidden = !paper.isEmpty;
  document.body.classList.toggle("blank", paper.isEmpty);
  foldTools();
  const strokes = paper.items.filter(item => item.points).length, parts = [];
  if (strokes < paper.items.length) parts.push("a picture");
  if (strokes) parts.push(plural(strokes, "stroke"));
  $("paper-summary").textContent = parts.length ? `On the paper: ${parts.join(" and ")}.` : "Nothing is drawn.";
  if (paper.isEmpty) {
    tellOfPicture("");
    hits.replace([]);
    showState();
    return say("The paper is blank.");
  }
  const mine = {seq, by: "", body: null, like: null, total: 0, isDone: false, nothing: false};
  search = mine;
  $("empty").hidden = true;
  $("about").textContent = "Looking…";
  rerankAtRest();
  mine.body = await paper.png();
  if (search === mine) await find("ret");
}

/** Ask for the hits of the drawing, in the order `by`; only an answer to the newest drawing is shown, and none twice. */
async function find(by) {
  const mine = search;
  try {
    const answer = await request(mine, by, 0);
    if (search !== mine || answer.seq !== mine.seq || (by === "ret" && mine.by === "cascade")) return;
    Object.assign(mine, {by, total: answer.total, isDone: false, nothing: answer.nothing});
    show(answer);
    if (answer.changes.length) tellOfPicture(`What was done to the drawing: ${answer.changes.join("; ")}.`);
  } catch (error) {
    complain(error);
  }
}

async function request({seq, body, like}, by, offset) {
  const query = {by, top: gallery.top, offset, group: $("group").value || undefined};
  const answer = like
    ? await ask("/like", {row: like.row, ...query}, {signal: running.signal})
    : await ask("/search", {seq, ...query}, {method: "POST", body, signal: running.signal});
  return answer.json();
}

function rerankAtRest() {
  clearTimeout(rest);
  if (!gallery.tokens || gallery.by === "ret" || !search || search.like) return;
  rest = setTimeout(async () => {
    const mine = search;
    while (mine && search === mine && !mine.body) await new Promise(resolve => setTimeout(resolve, 10));
    if (mine && search === mine && mine.by !== "cascade" && !paper.isDrawing) find("cascade");
  }, REST);
}

function show(answer) {
  $("trouble").hidden = true;
  hits.replace(answer.hits);
  showState(answer.ms);
  const best = answer.hits[0];
  if (!best) say("No photos.");
  else if (search.nothing) say("Nothing here looks like it.");
  else say(`${plural(answer.hits.length, "photo")} shown of ${number(answer.total)}, best ${nameOf(best)}.`);
  if (pointed) point(pointed);
  fillScreen();
}

/** Headline, notices and what else depends on what is looked for. */
function showState(ms) {
  const like = search?.like;
  $("found-title").textContent = like ? `Photos like ${nameOf(like)}` : "Photos";
  $("back").hidden = !like;
  $("back").textContent = paper.isEmpty ? "Back" : "Back to the drawing's photos";
  $("empty").hidden = Boolean(search);
  $("legend").hidden = !search || like || !hits.hits.length;
  $("nothing").hidden = !search?.nothing;
  $("hits").classList.toggle("poor", Boolean(search?.nothing));
  $("about").textContent = !search || ms === undefined ? "" : `${plural(search.total, "photo")}, ${search.by === "cascade" ? "compared part by part" : "by the whole picture"}, ${Math.max(1, Math.round(ms))} ms`;
}

// more hits at the end of the list

let isLoading = false, isEndSeen = false;
async function loadMore() {
  const mine = search;
  if (isLoading || !mine?.by || mine.isDone || hits.hits.length >= mine.total) return;
  isLoading = true;
  const {by} = mine, offset = hits.hits.length;
  try {
    const answer = await request(mine, offset >= gallery.shortlist ? "ret" : by, offset);
    if (search !== mine || mine.by !== by) return;
    mine.isDone = !answer.hits.length;
    hits.append(answer.hits);
  } catch (error) {
    complain(error);
    mine.isDone = true;
  } finally {
    isLoading = false;
    fillScreen();
  }
}
function fillScreen() { if (isEndSeen) loadMore(); }
new IntersectionObserver(([entry]) => {
  isEndSeen = entry.isIntersecting;
  fillScreen();
}, {rootMargin: "200px"}).observe($("more"));

// photos like a photo

async function findLike(hit) {
  forget();
  const mine = {seq, by: "", body: null, like: hit, total: 0, isDone: false, nothing: false};
  search = mine;
  try {
    const answer = await request(mine, "ret", 0);
    if (search !== mine) return;
    Object.assign(mine, {by: "ret", total: answer.total});
    show(answer);
    $("found").scrollIntoView({block: "start"});
    hits.focus(undefined, {preventScroll: true});
  } catch (error) {
    complain(error);
  }
}

// why

const reasons = new Map();  // promises of the answers for the drawing `reasons.seq`, by row
let asking = new AbortController();
/** The matches of a hit; only the last one that is asked for is waited for. */
function reasonsOf(row) {
  if (reasons.seq !== seq) reasons.clear();
  reasons.seq = seq;
  if (!reasons.has(row)) {
    asking.abort();
    asking = new AbortController();
    const promise = askWhy(seq, row, asking.signal);
    promise.catch(() => { if (reasons.get(row) === promise) reasons.delete(row); });
    reasons.set(row, promise);
  }
  return reasons.get(row);
}

/** A drawing that the server does not have, or no longer, is sent once more. */
async function askWhy(seq, row, signal) {
  const why = async () => (await ask("/why", {seq, row}, {method: "POST", signal})).json();
  try {
    return await why();
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
  }
  await send(seq, signal);
  return why();
}
const send = async (seq, signal) => ask("/search", {seq, by: "ret", top: 1}, {method: "POST", body: await paper.png(), signal});

async function point(hit) {
  pointed = hit;
  if (!gallery.tokens || paper.isEmpty || !search?.by) return;  // what is shown may still be for an earlier drawing
  try {
    const why = await reasonsOf(hit.row), image = hits.imageOf(hit.row);
    if (pointed?.row !== hit.row || reasons.seq !== seq || !image) return;
    lines.draw(why, image);
    const count = Math.min(why.matches.length, LINES);
    say(`${nameOf(hit)}: ${plural(why.matches.length, "part")} of the photo answer${why.matches.length === 1 ? "s" : ""} the strokes; ${plural(count, "line")} drawn.`);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 410) complain(error);
  }
}

function unpoint() {
  const focused = document.activeElement?.closest?.(".hit");
  const hit = focused && hits.hits.find(one => one.row === Number(focused.dataset.row));
  pointed = null;
  lines.clear();
  if (hit) point(hit);
}

const nameOf = hit => shortName(hit.name);
hits.addEventListener("point", event => { if (pointed?.row !== event.detail.row) lines.clear(); point(event.detail); });
hits.addEventListener("leave", () => setTimeout(unpoint));
hits.addEventListener("like", event => findLike(event.detail));
hits.addEventListener("open", ({detail: hit}) => {
  const canExplain = gallery.tokens && !paper.isEmpty;
  const known = canExplain ? reasonsOf(hit.row).catch(() => {}) : null;  // so that the server has the drawing
  lines.clear();
  explanation.open(hit, canExplain ? seq : null, known, hits.hits, nameOf);
});
explanation.addEventListener("like", event => findLike(event.detail));
explanation.addEventListener("close", event => { if (!search?.like) hits.focus(event.detail.row); });

// pictures of drawings

async function take(file, name = file.name) {
  try {
    const [data, made] = await withinLimits(file);
    const answer = await ask("/prepare", {}, {method: "POST", body: data});
    const changes = [...made, ...JSON.parse(decodeURIComponent(answer.headers.get("X-Zse-Changes") || "[]"))];
    const png = await answer.blob();
    paper.place(await createImageBitmap(png), png);
    tellOfPicture(`${name}: ${changes.length ? changes.join("; ") : "taken as it is"}.`);
  } catch (error) {
    if (error instanceof Refused) tellOfPicture(`${name}: ${error.message}${error.hint ? `; ${error.hint}` : ""}.`);
    else complain(error);
  }
}

/** A file that the server takes, and what was done for that. One that no browser can read is left as it is. */
async function withinLimits(file) {
  if (file.size <= gallery.limits.bytes) return [file, []];
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return [file, []];
  const scale = Math.min(1, LONGEST / Math.max(picture.width, picture.height)), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height].map(value => Math.round(value * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  const smaller = await new Promise(resolve => canvas.toBlob(resolve, "image/jpeg", .92));
  return [smaller, [`made smaller, to ${canvas.width} × ${canvas.height} pixels`]];
}

function takeFirst(files) {
  const file = [...files].find(one => !one.type || one.type.startsWith("image/"));
  if (file) take(file, file.name || "the picture");
  else tellOfPicture("That is no picture file.");
}

addEventListener("paste", event => {
  if (!event.clipboardData.files.length || explanation.isOpen) return;
  event.preventDefault();
  takeFirst(event.clipboardData.files);
});
let inside = 0;  // elements that a dragged file is over
const hasFiles = event => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", event => { if (hasFiles(event)) document.body.classList.toggle("drops", ++inside > 0); });
addEventListener("dragleave", event => { if (hasFiles(event)) document.body.classList.toggle("drops", --inside > 0); });
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("drops");
  if (event.dataTransfer.files.length) takeFirst(event.dataTransfer.files);
});
$("file").addEventListener("change", () => {
  takeFirst($("file").files);
  $("file").value = "";
});

// tools and keys

paper.addEventListener("change", onChange);
paper.addEventListener("down", () => clearTimeout(rest));
paper.addEventListener("up", rerankAtRest);
paper.addEventListener("say", event => say(event.detail));
for (const action of ["undo", "redo", "clear"]) $(action).addEventListener("click", () => {
  paper[action]();
  if ($(action).disabled && document.activeElement === document.body) $("paper").focus();
});
function chooseTool(tool) {
  paper.tool = tool;
  $("tools").querySelector(`[value=${tool}]`).checked = true;
  $("paper").classList.toggle("erases", tool === "eraser");
}
$("tools").addEventListener("change", event => chooseTool(event.target.value));
$("tools").closest(".left").addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = {p: () => chooseTool("pen"), e: () => chooseTool("eraser"), delete: () => paper.clear()}[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
  if (event.key.length === 1) say(paper.tool === "pen" ? "Pen." : "Eraser.");
});
addEventListener("keydown", event => {
  const key = event.key.toLowerCase(), isCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return pointed = null, lines.clear();
  if (!isCommand || (key !== "z" && key !== "y")) return;
  event.preventDefault();
  key === "z" && !event.shiftKey ? paper.undo() : paper.redo();
});

async function save(data, ending) {
  const url = URL.createObjectURL(data);
  html("a", {href: url, download: `drawing.${ending}`}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
$("save-png").addEventListener("click", async () => save(await paper.png(1024), "png"));
$("save-svg").addEventListener("click", async () => save(new Blob([await paper.svg()], {type: "image/svg+xml"}), "svg"));
$("open-help").addEventListener("click", () => $("help").showModal());
for (const button of document.querySelectorAll("dialog .close")) button.addEventListener("click", () => button.closest("dialog").close());
$("group").addEventListener("change", () => search?.like ? findLike(search.like) : onChange());
$("back").addEventListener("click", () => {
  onChange();
  $("found").focus({preventScroll: true});
});

// the gallery

async function start() {
  try {
    gallery = await (await ask("/gallery")).json();
  } catch (error) {
    return complain(error);
  }
  const {photos, model, name, groups, examples} = gallery;
  $("gallery").textContent = `${plural(photos, "photo")} of ${name}, model ${model}`;
  $("colophon").textContent = "Everything is computed on this machine, and nothing leaves it." +
    (model === "small" ? " The model small learned from icons drawn by designers: clean outlines find more than free-hand sketches, and pictures on plain ground are found better than scenes." : "") +
    (gallery.tokens ? "" : " These photos can be ranked by the whole picture alone, and not explained.");
  $("group").append(html("option", {value: ""}, `all ${number(photos)}`), ...groups.map(group => html("option", {value: group.name}, `${group.name} (${number(group.count)})`)));
  $("filter").hidden = !groups.length;
  $("example-list").append(...examples.map(example => {
    const button = html("button", {type: "button", class: "example", title: example.name, "aria-label": `Start from ${example.name}`}, html("img", {src: example.url, alt: "", width: "64", height: "64"}));
    button.addEventListener("click", async () => take(await (await ask(example.url)).blob(), example.name));
    return button;
  }));
  $("examples").hidden = !examples.length;
  const count = Math.min(SAMPLE, photos);
  $("sample").append(...Array.from({length: count}, (_, i) => html("img", {src: address(`/photo/${Math.floor((i + .5) * photos / count)}`, {side: 160}), alt: "", loading: "lazy"})));
  $("sample-title").hidden = !count;
  document.body.dataset.ready = "";
}
onChange();
start();

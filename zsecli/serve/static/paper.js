// The paper: a white square, one pen of one width, an eraser of whole strokes. What is drawn is kept as points.
import {STEPS} from "./overlay.js";

export const SIDE = 512;  // pixels of the picture that is searched with, and units of the SVG
const PEN = .03;  // width of the pen, as a share of the side
const SHOWN = 1024;  // pixels of the canvas on the screen
const NEAR = .002;  // points nearer to the last one than this are left out
const REACH = PEN / 2 + .015;  // how far from the middle of a stroke the eraser takes it
const CELLS = 64;  // a side, of the map that says where a picture has ink
const STEP = .02, STRIDE = .1;  // of the pen that is moved by keys, without and with Shift

/** A stroke's points, [x, y] in 0 to 1 each, as the path of an SVG `side` wide. */
export function pathOf(points, side = SIDE) {
  const at = ([x, y]) => `${(x * side).toFixed(2)} ${(y * side).toFixed(2)}`;
  const between = (one, other) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
  if (points.length === 1) return `M${at(points[0])}h.01`;
  const curves = points.slice(1, -1).map((point, i) => `Q${at(point)} ${at(between(point, points[i + 2]))}`);
  return `M${at(points[0])}${curves.join("")}L${at(points.at(-1))}`;
}

/** Where a picture of this size lies on a paper `side` wide: as large as it can be, in the middle. */
function fitted(width, height, side) {
  const scale = side / Math.max(width, height);
  return [(side - width * scale) / 2, (side - height * scale) / 2, width * scale, height * scale];
}

function brushOf(canvas) { return canvas.getContext("2d", {willReadFrequently: true}); }

/** Items on white, or on what is there. */
function paint(canvas, items, isBlank = true) {
  const side = canvas.width, brush = brushOf(canvas);
  brush.fillStyle = "#fff";
  if (isBlank) brush.fillRect(0, 0, side, side);
  Object.assign(brush, {lineWidth: PEN * side, lineCap: "round", lineJoin: "round", strokeStyle: "#000", imageSmoothingQuality: "high"});
  for (const item of items) {
    if (item.picture) brush.drawImage(item.picture, ...fitted(item.picture.width, item.picture.height, side));
    else brush.stroke(new Path2D(pathOf(item.points, side)));
  }
}

function square(side) {
  return Object.assign(document.createElement("canvas"), {width: side, height: side});
}

/** The cells of the paper in which a picture has ink, for the eraser. */
function inkOf(item) {
  const canvas = square(CELLS);
  paint(canvas, [item]);
  const {data} = brushOf(canvas).getImageData(0, 0, CELLS, CELLS);
  return Array.from({length: CELLS * CELLS}, (_, i) => data[4 * i] + data[4 * i + 1] + data[4 * i + 2] < 690);
}

function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay], length = dx * dx + dy * dy;
  const along = length ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1) : 0;
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}

function isTouched(item, point) {
  if (item.points) return item.points.some((end, i) => distance(point, item.points[Math.max(i - 1, 0)], end) <= REACH);
  const [column, row] = point.map(value => Math.floor(value * CELLS)), near = Math.ceil(REACH * CELLS);
  for (let y = Math.max(row - near, 0); y <= Math.min(row + near, CELLS - 1); y++) {
    for (let x = Math.max(column - near, 0); x <= Math.min(column + near, CELLS - 1); x++) if (item.ink[y * CELLS + x]) return true;
  }
  return false;
}

/**
 * Events: "change" when what is drawn has changed, "down" and "up" when a hand begins and ends to draw, "say" with a
 * sentence for people who do not see the paper.
 */
export class Paper extends EventTarget {
  tool = "pen";
  #box; #canvas; #cursor;
  #states = [[]]; #at = 0;  // all that was drawn after each change; a state is never altered
  #live = null;  // what a hand is doing: {pointer, kind, erases, points, items}
  #waits = false;  // for the next frame, to paint
  #finished = {items: null, canvas: square(SHOWN)};  // what is painted of whole strokes, so that a frame adds one alone
  #pen = [.5, .5]; #pressed = new Set();  // the pen that keys move

  constructor(box, canvas, cursor) {
    super();
    [this.#box, this.#canvas, this.#cursor] = [box, canvas, cursor];
    canvas.width = canvas.height = SHOWN;
    paint(canvas, []);
    for (const kind of ["down", "move", "up", "cancel"]) box.addEventListener(`pointer${kind}`, event => this[`_${kind}`](event));
    box.addEventListener("keydown", event => this.#key(event));
    box.addEventListener("keyup", event => this.#pressed.delete(event.key));
    box.addEventListener("blur", () => this.#leave());
    box.addEventListener("focus", () => { if (box.matches(":focus-visible")) this.#showCursor(true); });
    box.addEventListener("contextmenu", event => event.preventDefault());
  }

  get items() { return this.#live?.items ?? this.#states[this.#at]; }
  get isEmpty() { return !this.#states[this.#at].length; }
  get canUndo() { return this.#at > 0; }
  get canRedo() { return this.#at < this.#states.length - 1; }
  get isDrawing() { return Boolean(this.#live); }

  undo() { if (this.canUndo) this.#go(this.#at - 1); }
  redo() { if (this.canRedo) this.#go(this.#at + 1); }
  clear() { if (!this.isEmpty) this.#commit([]); }

  /** A picture instead of what is there; `data` is its file, for the SVG. */
  place(picture, data) {
    const item = {picture, data};
    item.ink = inkOf(item);
    this.#commit([item]);
  }

  /** What is drawn as a PNG, a promise of its file. */
  png(side = SIDE) {
    const canvas = square(side);
    paint(canvas, this.#states[this.#at]);
    return new Promise(resolve => canvas.toBlob(resolve, "image/png"));
  }

  /** The same as the text of an SVG file. */
  async svg() {
    const parts = await Promise.all(this.#states[this.#at].map(async item => {
      if (item.points) return `<path d="${pathOf(item.points)}"/>`;
      const [x, y, width, height] = fitted(item.picture.width, item.picture.height, SIDE);
      return `<image x="${x}" y="${y}" width="${width}" height="${height}" href="${await dataUrl(item.data)}"/>`;
    }));
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${SIDE}" height="${SIDE}" viewBox="0 0 ${SIDE} ${SIDE}">\n<rect width="100%" height="100%" fill="#fff"/>\n` +
      `<g fill="none" stroke="#000" stroke-width="${PEN * SIDE}" stroke-linecap="round" stroke-linejoin="round">\n${parts.join("\n")}\n</g>\n</svg>\n`;
  }

  #tell(kind, detail) { this.dispatchEvent(new CustomEvent(kind, {detail})); }
  #say(text) { this.#tell("say", text); }

  #go(at) {
    this.#drop();
    this.#at = at;
    this.#paint();
    this.#tell("change");
  }

  #commit(items) {
    this.#live = null;
    this.#states.splice(this.#at + 1, Infinity, items);
    this.#go(this.#at + 1);
  }

  /** Forget what a hand has begun. */
  #drop() {
    if (!this.#live) return;
    this.#live = null;
    this.#cursor.classList.remove("down");
    this.#paint();
    this.#tell("up");
  }

  #paint() {
    if (this.#waits) return;
    this.#waits = true;
    requestAnimationFrame(() => {
      this.#waits = false;
      const live = this.#live, finished = this.#finished;
      if (finished.items !== this.items) paint(finished.canvas, this.items);
      finished.items = this.items;
      brushOf(this.#canvas).drawImage(finished.canvas, 0, 0);
      if (live && !live.erases) paint(this.#canvas, [live], false);
    });
  }

  #begin(pointer, kind, erases, point) {
    this.#live = {pointer, kind, erases, points: [], items: this.#states[this.#at]};
    this.#tell("down");
    this.#extend(point);
  }

  #extend(point) {
    const live = this.#live, last = live.points.at(-1);
    if (last && Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR) return;
    if (live.erases) {
      const steps = last ? Math.ceil(Math.hypot(point[0] - last[0], point[1] - last[1]) / REACH) : 1;
      for (let i = 1; i <= steps; i++) {
        const at = last ? point.map((value, axis) => last[axis] + (value - last[axis]) * i / steps) : point;
        live.items = live.items.filter(item => !isTouched(item, at));
      }
    }
    live.points.push(point.map(value => Math.round(value * 1e4) / 1e4));
    this.#paint();
  }

  #end() {
    const live = this.#live, before = this.#states[this.#at];
    this.#cursor.classList.remove("down");
    if (live.erases && live.items.length === before.length) return this.#drop();
    this.#live = null;
    this.#tell("up");
    this.#commit(live.erases ? live.items : [...before, {points: live.points}]);
  }

  #pointOf(event) {
    const {left, top, width, height} = this.#canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }

  _down(event) {
    const isEraserEnd = event.pointerType === "pen" && event.button === 5;
    if (event.button !== 0 && !isEraserEnd) return;
    if (this.#live) {
      if (event.pointerType !== "pen" || this.#live.kind === "pen") return;  // a second finger, or the palm beside the pen
      this.#drop();  // the palm came first
    }
    event.preventDefault();
    this.#box.classList.add("by-hand");  // a ring around the paper is for the keyboard
    this.#box.focus({preventScroll: true});
    this.#showCursor(false);
    try {
      this.#box.setPointerCapture(event.pointerId);
    } catch {
      // the pointer is gone already
    }
    this.#begin(event.pointerId, event.pointerType, isEraserEnd || this.tool === "eraser", this.#pointOf(event));
  }

  _move(event) {
    if (this.#live?.pointer !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.#extend(this.#pointOf(one));
  }

  _up(event) {
    if (this.#live?.pointer !== event.pointerId) return;
    this.#extend(this.#pointOf(event));
    this.#end();
  }

  _cancel(event) {
    if (this.#live?.pointer === event.pointerId) this.#drop();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key], isKeyStroke = this.#live?.kind === "keys";
    this.#box.classList.remove("by-hand");
    if (event.key === "Escape" && isKeyStroke) {
      event.stopPropagation();
      this.#drop();
      this.#say("Stroke dropped.");
    } else if (event.key === " ") {
      event.preventDefault();
      if (this.#live && !isKeyStroke) return;
      if (event.repeat) return;
      if (isKeyStroke) {
        this.#end();
        this.#say("Pen lifted.");
      } else {
        this.#showCursor(true);
        this.#cursor.classList.add("down");
        this.#begin(null, "keys", this.tool === "eraser", [...this.#pen]);
        this.#say(this.tool === "eraser" ? "Eraser down." : "Pen down.");
      }
    } else if (step) {
      event.preventDefault();
      this.#pressed.add(event.key);
      const by = event.shiftKey ? STRIDE : STEP;
      for (const key of this.#pressed) {
        this.#pen = this.#pen.map((value, axis) => Math.min(Math.max(value + by * STEPS[key][axis], 0), 1));
      }
      this.#showCursor(true);
      if (isKeyStroke) this.#extend([...this.#pen]);
      else this.#say(`Pen at ${this.#pen.map(value => Math.round(100 * value)).join(", ")} percent.`);
    }
  }

  #leave() {
    this.#pressed.clear();
    this.#box.classList.remove("by-hand");
    this.#cursor.setAttribute("hidden", "");
    if (this.#live?.kind === "keys") this.#end();
  }

  #showCursor(isShown) {
    this.#cursor.toggleAttribute("hidden", !isShown);
    [this.#cursor.style.left, this.#cursor.style.top] = this.#pen.map(value => `${100 * value}%`);
  }
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

// The photos that were found, as a list of buttons. One of them is reached by Tab, the others by the arrow keys.
import {STEPS, html, middle, nextAlong} from "./overlay.js";

const SIDE = 320;  // pixels of a photo's longer side as it is sent
const percent = share => `${Math.round(100 * share)}\u00a0%`;

/** A path as people read it: the name of the file, without its ending. */
export const shortName = name => name.split("/").at(-1).replace(/(?<=.)\.\w{1,5}$/, "") || name;

/** Events with the hit as their detail: "point" and "leave" for lines, "open", "like". */
export class Hits extends EventTarget {
  #list;
  #tiles = new Map();  // row -> {item, button, hit, ...}
  #shown = [];

  constructor(list) {
    super();
    this.#list = list;
    list.addEventListener("pointerover", event => this.#tellOf("point", event));
    list.addEventListener("pointerleave", () => this.#tell("leave"));
    list.addEventListener("focusin", event => {
      this.#enter(event.target.closest(".hit"));
      this.#tellOf("point", event);
    });
    list.addEventListener("focusout", () => this.#tell("leave"));
    list.addEventListener("click", event => this.#tellOf("open", event));
    list.addEventListener("keydown", event => this.#key(event));
  }

  get hits() { return this.#shown; }

  /** The picture of a hit; undefined where it is not shown. */
  imageOf(row) { return this.#tiles.get(row)?.image; }

  focus(row, options) { (this.#tiles.get(row) ?? this.#tiles.get(this.#shown[0]?.row))?.button.focus(options); }

  /** Show these hits instead of those that are shown. A photo that stays keeps its place in the document's memory. */
  replace(hits) {
    const focused = document.activeElement?.closest?.(".hit")?.dataset.row, before = this.#tiles;
    this.#tiles = new Map();
    this.#shown = [];
    this.#list.replaceChildren();
    this.append(hits, before);
    const entry = this.#tiles.get(Number(focused)) ?? this.#tiles.get(this.#shown[0]?.row);
    if (entry) this.#enter(entry.button);
    if (focused !== undefined && document.activeElement === document.body) entry?.button.focus();
  }

  append(hits, known = new Map()) {
    for (const hit of hits) {
      if (this.#tiles.has(hit.row)) continue;
      const last = this.#shown.at(-1);
      if (last?.by === "relation" && hit.by === "ret") {
        this.#list.append(html("li", {class: "divider"}, "From here on by the whole picture alone"));
      }
      const tile = known.get(hit.row) ?? this.#make(hit);
      this.#fill(tile, hit);
      this.#tiles.set(hit.row, tile);
      this.#shown.push(hit);
      this.#list.append(tile.item);
    }
  }

  #make({row}) {
    const image = html("img", {src: `/photo/${row}?side=${SIDE}`, alt: "", loading: "lazy", decoding: "async", draggable: "false"});
    const picture = html("span", {class: "picture"}, image), words = html("span", {class: "words"}), name = html("span", {class: "name"}), group = html("span", {class: "group-name"});
    const detail = html("span", {class: "detail"}), bar = html("span", {class: "bar", "aria-hidden": "true"}, html("span", {})), share = html("span", {class: "share"});
    const button = html("button", {type: "button", class: "hit", tabindex: "-1", "data-row": row},
      picture, words, " ", detail, html("span", {class: "score"}, bar, share, html("span", {class: "hidden"}, " of the usual best")));
    image.addEventListener("error", () => picture.replaceChildren(html("span", {class: "gone"}, "This photo is gone, or no longer what it was.")));
    return {item: html("li", {}, button), button, image, words, name, group, detail, bar, share};
  }

  #fill(tile, hit) {
    tile.name.textContent = shortName(hit.name);
    tile.group.textContent = hit.group;
    tile.words.replaceChildren(...(/^\.?$/.test(hit.group) ? [] : [tile.group, " "]), tile.name);
    tile.share.textContent = percent(hit.share);
    tile.bar.style.setProperty("--share", Math.min(Math.max(hit.share, 0), 1));
    const score = `${hit.by === "relation" ? "relation score" : "cosine of [Ret]"} ${hit.score.toFixed(2)}`;
    tile.detail.textContent = score;
    tile.button.title = `${hit.name}\n${score}`;
    tile.hit = hit;
  }

  #enter(button) {
    for (const other of this.#list.querySelectorAll('.hit[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  #tell(kind, detail) { this.dispatchEvent(new CustomEvent(kind, {detail})); }

  #tellOf(kind, event) {
    const row = event.target.closest(".hit")?.dataset.row;
    if (row !== undefined) this.#tell(kind, this.#tiles.get(Number(row)).hit);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key], button = event.target.closest(".hit");
    if (event.key.toLowerCase() === "l") return this.#tellOf("like", event);
    const buttons = [...this.#list.querySelectorAll(".hit")];
    const middleOf = one => { const {left, top, right, bottom} = one.getBoundingClientRect(); return middle([left, top, right, bottom]); };
    let next = {Home: buttons[0], End: buttons.at(-1)}[event.key];
    if (step) next = nextAlong(middleOf(button), step, buttons, middleOf) ?? buttons[buttons.indexOf(button) + step[0]];
    if (!step && !next) return;
    event.preventDefault();
    next?.focus();
    next?.scrollIntoView({block: "nearest"});
  }
}

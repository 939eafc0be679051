// One photo with all that can be said of it: the page of `zse explain`, the photo in the sketch's shape, the photo.
import {html} from "./overlay.js";
import {address, ask, client} from "./server.js";

const SIDE = 1600;  // pixels of the photo's longer side
const OTHERS = 50;  // photos that it can be set against
const $ = id => document.getElementById(id);

/** Events: "like" with the hit, "close". */
export class Explanation extends EventTarget {
  #dialog = $("explanation");
  #hit = null; #seq = null;  // seq: null where there is no drawing to explain by
  #known = null;  // a promise that the server has the drawing

  constructor() {
    super();
    $("views").addEventListener("change", () => this.#show());
    $("contrast").addEventListener("change", () => this.#chooseContrast());
    $("like").addEventListener("click", () => this.#like());
    $("copy").addEventListener("click", () => this.#copyPath());
    this.#dialog.addEventListener("close", () => {
      $("explanation-body").replaceChildren();
      this.dispatchEvent(new CustomEvent("close", {detail: this.#hit}));
    });
    this.#dialog.addEventListener("keydown", event => {
      const isTyping = event.target.closest("select") || event.ctrlKey || event.metaKey || event.altKey;
      if (event.key.toLowerCase() === "l" && !isTyping) this.#like();
    });
    addEventListener("message", event => {  // Escape, pressed within the page of the explanation
      if (event.source === this.#dialog.querySelector("iframe")?.contentWindow && event.data === "close") this.#dialog.close();
    });
  }

  get isOpen() { return this.#dialog.open; }

  /** Open for a hit of the drawing `seq`, once it is `known`; `others` are hits that it can be set against. */
  open(hit, seq, known, others, nameOf) {
    [this.#hit, this.#seq, this.#known] = [hit, seq, known];
    const canExplain = seq !== null;
    $("explanation-title").textContent = hit.name;
    $("path").textContent = "";
    for (const part of [$("views"), $("contrast-label"), $("save-page")]) part.hidden = !canExplain;
    $("contrast").replaceChildren(html("option", {value: ""}, "…"), ...others.filter(other => other.row !== hit.row).slice(0, OTHERS)
      .map(other => html("option", {value: other.row}, nameOf(other))));
    $("views").elements[canExplain ? 0 : 2].checked = true;
    this.#dialog.showModal();
    this.#show();
  }

  close() { if (this.isOpen) this.#dialog.close(); }

  #question(more = {}) {
    const contrast = $("contrast").value || undefined;
    return {seq: this.#seq, row: this.#hit.row, contrast, client, ...more};
  }

  #show() {
    const view = document.querySelector('input[name="view"]:checked').value, name = this.#hit.name;
    const loading = html("p", {class: "loading", role: "status"}, {why: "Looking for the reasons…", synthesis: "Putting the photo together…", photo: "Loading the photo…"}[view]);
    const [made, source] = {
      why: [html("iframe", {title: `Why ${name} was found`}), address("/explain.html", this.#question())],
      synthesis: [html("img", {alt: `${name}, its patches put where the drawing has what they show`}), address("/synthesis", {seq: this.#seq, row: this.#hit.row, client})],
      photo: [html("img", {alt: name}), address(`/photo/${this.#hit.row}`, {side: SIDE})],
    }[view];
    const note = view === "synthesis" ? html("p", {class: "faint"}, "The photo's patches, each put where the drawing shows the same part.") : "";
    made.classList.add("waits");
    made.addEventListener("load", () => { if (made.hasAttribute("src")) loading.remove(), made.classList.remove("waits"); });
    made.addEventListener("error", () => { made.remove(); loading.textContent = "This cannot be shown: the photo is gone, or the drawing is no longer kept."; });
    Promise.resolve(this.#known).then(() => made.setAttribute("src", source));
    $("save-page").href = address("/explain.html", this.#question({download: 1}));
    $("contrast-label").classList.toggle("off", view !== "why");
    $("explanation-body").dataset.view = view;
    $("explanation-body").replaceChildren(loading, made, note);
  }

  #chooseContrast() {
    $("views").elements[0].checked = true;
    this.#show();
  }

  #like() {
    this.dispatchEvent(new CustomEvent("like", {detail: this.#hit}));
    this.close();
  }

  async #copyPath() {
    const {path} = await (await ask("/path", {row: this.#hit.row})).json();
    try {
      await navigator.clipboard.writeText(path);
      $("path").textContent = `Copied: ${path}`;
    } catch {
      $("path").textContent = path;  // to be marked and copied by hand
    }
  }
}

// Lines from the strokes on the paper into a photo among the hits.
import {LINES, joinMatches, middle, spot} from "./overlay.js";

/** Where a picture is shown that lies whole and in the middle of a box. */
function shownIn(box, width, height) {
  const scale = Math.min(box.width / width, box.height / height);
  return {left: box.left + (box.width - width * scale) / 2, top: box.top + (box.height - height * scale) / 2, width: width * scale};
}

export class Lines {
  #overlay; #paper;
  #drawn = null;  // {why, image}
  #waits = false;

  constructor(overlay, paper) {
    [this.#overlay, this.#paper] = [overlay, paper];
    const redraw = () => this.#redraw();
    addEventListener("scroll", redraw, {passive: true, capture: true});
    addEventListener("resize", redraw);
    new ResizeObserver(redraw).observe(document.body);
  }

  /** Draw the surest matches of `why`, the answer of /why, from the paper into the photo that `image` shows. */
  draw(why, image) {
    this.#drawn = {why, image};
    this.#paint();
  }

  clear() {
    this.#drawn = null;
    this.#overlay.replaceChildren();
  }

  #redraw() {
    if (this.#waits || !this.#drawn) return;
    this.#waits = true;
    requestAnimationFrame(() => {
      this.#waits = false;
      this.#paint();
    });
  }

  #paint() {
    if (!this.#drawn) return;
    const {why: {sketch, photo, matches}, image} = this.#drawn, best = matches[0]?.[2], tile = image.closest("button");
    const paper = this.#paper.getBoundingClientRect(), screen = {left: 0, top: 0};
    const shown = shownIn(image.getBoundingClientRect(), photo.width, photo.height);
    const sketchSpot = place => spot(screen, paper, sketch.width, sketch.boxes[place]);
    const photoSpot = place => spot(screen, shown, photo.width, photo.boxes[place]);
    // a photo may be scrolled away in part, or lie below the paper
    const isSeen = ([, place]) => document.elementFromPoint(...middle(photoSpot(place)))?.closest("button") === tile;
    const surest = tile && paper.bottom > 0 ? matches.slice(0, LINES).filter(isSeen) : [];
    this.#overlay.replaceChildren(...joinMatches(surest, best, sketchSpot, photoSpot));
  }
}

// Lines from the patches of a sketch to the patches of a photo that answer them. The page of `zse explain` has this
// file in its script; the page of `zse draw` imports it.

export const STEPS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
export const LINES = 12;  // as many as the eye can follow
const WEAK_TO_BEST = [[118, 104, 226], [212, 88, 160], [246, 140, 80], [255, 224, 84]];  // ever lighter: told apart in grey

/** Makers of elements; children that are text stay text, whatever they hold. */
const maker = space => (tag, attributes = {}, ...children) => {
  const made = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") made.style.cssText = value;  // a strict content security policy refuses the attribute
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};
export const html = maker("http://www.w3.org/1999/xhtml"), svg = maker("http://www.w3.org/2000/svg");

export const rectangle = ([left, top, right, bottom]) => ({x: left, y: top, width: right - left, height: bottom - top});
export const middle = ([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2];

/** The colour of a score, as a share (0 to 1) of the best one. */
export function colour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (WEAK_TO_BEST.length - 1), low = Math.min(Math.floor(at), WEAK_TO_BEST.length - 2);
  return `rgb(${WEAK_TO_BEST[low].map((value, i) => value + (at - low) * (WEAK_TO_BEST[low + 1][i] - value)).join()})`;
}

/** A box in pixels of a picture `width` wide, as pixels of `stage`; `shown` is where the picture is on the screen. */
export function spot(stage, shown, width, box) {
  const scale = shown.width / width, [left, top] = [shown.left - stage.left, shown.top - stage.top];
  return box.map((value, i) => value * scale + (i % 2 ? top : left));
}

/**
 * Lines of matches [sketch patch, photo patch, score], weakest first, so that the surest lies on top.
 * `sketchSpot` and `photoSpot` give the box of a patch in pixels of the stage; `best` is the score of the surest match.
 */
export function joinMatches(matches, best, sketchSpot, photoSpot) {
  return [...matches].reverse().map(([sketch, photo, score]) => {
    const [x, y] = middle(sketchSpot(sketch)), [u, v] = middle(photoSpot(photo));
    const share = score / best, line = {d: `M${x} ${y}L${u} ${v}`, fill: "none", "stroke-linecap": "round"}, width = 1.5 + 2 * share;
    const end = {r: 3.5, fill: colour(share), stroke: "#111"};
    return svg("g", {class: "line", "data-sketch": sketch, "data-photo": photo},
      svg("path", {...line, stroke: "#111c", "stroke-width": width + 2}), svg("path", {...line, stroke: colour(share), "stroke-width": width}),
      svg("circle", {cx: x, cy: y, ...end}), svg("circle", {cx: u, cy: v, ...end}));
  });
}

/** Of `candidates` with their middles (`middleOf`), the next one from [x, y] in the direction `step`, or null. */
export function nextAlong([x, y], step, candidates, middleOf) {
  let next = null, least = Infinity;
  for (const candidate of candidates) {
    const [u, v] = middleOf(candidate), along = (u - x) * step[0] + (v - y) * step[1];
    const cost = along + 2 * Math.abs((u - x) * step[1] + (v - y) * step[0]);  // rather straight on than near
    if (along > 0 && cost < least) [next, least] = [candidate, cost];
  }
  return next;
}

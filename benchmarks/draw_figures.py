"""Pictures of `zse draw`, with the shipped demo photos: python benchmarks/draw_figures.py FOLDER (make screenshots)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.drawings import CHROMIUM, COCKTAIL, FLAGS, draw, open_page, wait_for_hits, wait_until

SIZES = {1280: 860, 768: 1024, 360: 740}
QUALITY = 90


def save(page: Any, file: Path) -> None:
    """What the browser shows, as a WebP file."""
    shot = file.with_suffix(".png")
    page.screenshot(path=shot)
    with Image.open(shot) as image:
        image.convert("RGB").save(file, quality=QUALITY, method=6)
    shot.unlink()


def take_pictures(browser: Any, address: str, folder: Path) -> None:
    """The page with a hit pointed at, in three widths, light and dark; and the explanation of that hit."""
    for scheme in ("light", "dark"):
        for width, height in SIZES.items():
            page = open_page(browser, address, viewport={"width": width, "height": height}, color_scheme=scheme)
            draw(page, COCKTAIL)
            wait_for_hits(page)
            page.locator(".hit").first.hover()
            wait_until(page, "document.querySelector('#overlay .line')")
            page.wait_for_load_state("networkidle")
            time.sleep(0.5)  # for borders that change slowly
            save(page, folder / f"draw-{width}-{scheme}.webp")
            if width == 1280:
                page.locator(".hit").first.click()
                page.frame_locator("#explanation iframe").locator(".line").first.wait_for()
                page.mouse.move(640, 30)
                time.sleep(0.5)
                save(page, folder / f"draw-why-{scheme}.webp")
            page.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "zsecli", "draw", "--no-browser", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with sync_playwright() as running:
            browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            take_pictures(browser, address, folder)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

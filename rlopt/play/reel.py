"""The frames of a film, and its files: a GIF, and an MP4 where ffmpeg is installed."""

import contextlib
import functools
import io
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from celo2.files import write_atomic
from rlopt import escape
from rlopt.play.scenes import WIDTH

# No picture is scaled to more than that.
HEIGHT = 420
# Of the strip with the text, in pixels.
STRIP = 44
_FONT, _MARGIN = 15, 6
_SHADE, _DARK, _LIGHT, _DIM = 0x1C, "#1C1C1C", "#F4F4F4", "#B4B4B4"
# Pixels between episodes side by side.
_APART = 4
# Milliseconds that the end of an episode stays.
HOLD = 1000


class Shot(NamedTuple):
    """A step as it is shown: what its picture is made of, return and steps so far, whether the episode is over."""

    seen: Any
    total: float
    step: int
    over: bool


class Panel(NamedTuple):
    """An episode to be shown. picture: what was seen -> uint8 [H, W, 3]. title: of the environment. who plays."""

    shots: Sequence[Shot]
    picture: Callable[[Any], np.ndarray]
    title: str
    who: str


class Reel:
    """The frames of episodes side by side, made when they are asked for: uint8 [H, W, 3], height and width even.

    An episode that is over before the others shows its end until theirs.
    """

    def __init__(self, panels: Sequence[Panel], rate: float) -> None:
        """Args:
        panels: from left to right, with pictures of equal size.
        rate: frames per second.
        """
        self._panels, self.rate = panels, rate
        self._digits = [decimals([shot.total for shot in panel.shots]) for panel in panels]

    def __len__(self) -> int:
        return max(len(panel.shots) for panel in self._panels)

    def __getitem__(self, i: int) -> np.ndarray:
        first, *others = (self._frame(k, i) for k in range(len(self._panels)))
        apart = [np.pad(frame, ((0, 0), (_APART, 0), (0, 0)), constant_values=_SHADE) for frame in others]
        return np.concatenate([first, *apart], axis=1)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def colours(self) -> np.ndarray | None:
        """All colours of the pictures, uint8 [N, 3]; None: they are drawn, in more shades than anyone would count."""
        seen = np.zeros(1 << 24, bool)
        for panel in self._panels:
            for shot in panel.shots:
                picture = panel.picture(shot.seen)
                if picture.shape[1] >= WIDTH:
                    return None
                seen[picture.astype(np.int32) @ (1 << 16, 1 << 8, 1)] = True
        found = np.flatnonzero(seen)
        return np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(np.uint8)

    @property
    def over(self) -> bool:
        """Whether all episodes come to their ends."""
        return all(panel.shots[-1].over for panel in self._panels)

    def _frame(self, k: int, i: int) -> np.ndarray:
        panel = self._panels[k]
        shot = panel.shots[min(i, len(panel.shots) - 1)]
        picture = enlarged(panel.picture(shot.seen))
        end = " (end)" if shot.over else ""
        right = (f"return {shot.total:,.{self._digits[k]}f}", f"step {shot.step:,}{end}")
        return np.concatenate([strip(picture.shape[1], (panel.title, panel.who), right), picture])


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A picture with each pixel so many pixels wide and high as fit; dark at its sides where it is too narrow."""
    height, width = picture.shape[:2]
    times = max(1, min(WIDTH // width, HEIGHT // height))
    large = picture.repeat(times, axis=0).repeat(times, axis=1)
    missing = max(0, WIDTH - times * width) + max(times * width, WIDTH) % 2
    sides = (missing // 2, missing - missing // 2)
    below = times * height % 2
    return np.pad(large, ((0, below), sides, (0, 0)), constant_values=_SHADE)


def strip(width: int, left: tuple[str, str], right: tuple[str, str]) -> np.ndarray:
    """Two lines of text, uint8 [STRIP, width, 3]; what is on the left is cut short where it finds no room."""
    image = Image.new("RGB", (width, STRIP), _DARK)
    draw, font = ImageDraw.Draw(image), _font()
    for i, colour in enumerate((_LIGHT, _DIM)):
        y = STRIP * (2 * i + 1) / 4
        room = width - 3 * _MARGIN - draw.textlength(right[i], font)
        draw.text((_MARGIN, y), _fitted(left[i], room), colour, font, "lm")
        draw.text((width - _MARGIN, y), right[i], _LIGHT, font, "rm")
    return np.asarray(image)


@functools.cache
def _font() -> Any:
    return ImageFont.load_default(_FONT)


def _fitted(text: str, room: float) -> str:
    """A text, or as much of its beginning as finds room."""
    text = escape.terminal(text).replace("\n", " ")[:1000]
    shorter = (f"{text[:n]}..." for n in range(len(text) - 1, 0, -1))
    return next((one for one in (text, *shorter) if _font().getlength(one) <= room), "")


def decimals(totals: Sequence[float]) -> int:
    """Decimals of a return: none where all are whole, else such that the largest has three figures or more."""
    known = [abs(total) for total in totals if np.isfinite(total)]
    if all(total == round(total) for total in known):
        return 0
    return next((digits for digits, least in ((1, 100), (2, 1)) if max(known) >= least), 3)


def write_gif(reel: Reel, path: Path) -> None:
    """Writes a GIF that is played again and again."""
    palette = _palette(reel)
    coded = (Image.fromarray(x).quantize(palette=palette, dither=Image.Dither.NONE) for x in reel)
    each = 10 * round(100 / reel.rate)  # the format counts hundredths of a second
    durations = [each] * (len(reel) - 1) + [HOLD if reel.over else each]
    buffer = io.BytesIO()
    next(coded).save(buffer, format="GIF", save_all=True, append_images=coded, duration=durations, loop=0)
    write_atomic(path, buffer.getvalue())


def _palette(reel: Reel) -> Image.Image:
    """All colours, where a GIF has room for them: what few frames show has its own too; else those of some frames."""
    colours, greys = reel.colours(), np.linspace(_SHADE, 255, 32).round().astype(np.uint8)
    if colours is not None and len(colours) + len(greys) <= 256:
        palette = Image.new("P", (1, 1))
        palette.putpalette(np.concatenate([colours, np.stack([greys] * 3, axis=1)]).tobytes())
        return palette
    frames = [reel[i] for i in range(0, len(reel), max(1, len(reel) // 8))]
    return Image.fromarray(np.concatenate([*frames, reel[len(reel) - 1]])).quantize(64)


def write_mp4(reel: Reel, path: Path) -> bool:
    """Whether ffmpeg is there and has made a film; if it has failed, it is said why.

    Warns:
      RuntimeWarning: if ffmpeg fails.
    """
    if not shutil.which("ffmpeg"):
        return False
    height, width = reel[0].shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{reel.rate:g}", "-i", "-"]
    unfinished = path.with_name(f".{path.name}")
    command = ["ffmpeg", "-y", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", str(unfinished)]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said) as process:
            assert process.stdin is not None
            # Where ffmpeg gives up, it is asked below why.
            with contextlib.suppress(BrokenPipeError), process.stdin:
                for frame in reel:
                    process.stdin.write(frame.tobytes())
        status = process.returncode
        said.seek(0)
        reason = said.read(2000).decode(errors="replace").strip()
    if status == 0:
        unfinished.replace(path)
        return True
    unfinished.unlink(missing_ok=True)
    warnings.warn(f"no {path.name}: ffmpeg failed ({reason or f'exit status {status}'})", RuntimeWarning, stacklevel=4)
    return False

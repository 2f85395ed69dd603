"""Makes the pictures of the README: runs the demo on a real broker and the commands beside it, each in
a terminal of its own, and draws what the terminal shows, dark and light.

    screenshots.py RABTRACE FOLDER      RABTRACE is the program, FOLDER gets NAME-dark.svg, NAME-light.svg
"""

import fcntl
import itertools
import os
import pathlib
import pty
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS, LINES = 144, 56
# How long the pipeline runs before the pictures: the first failures, retries and dead letters are told.
RUNS = 60

ANSI = [(1, 1, 1), (197, 15, 31), (19, 161, 14), (153, 101, 21), (0, 95, 184), (136, 23, 152), (20, 120, 150), (110, 110, 110)]
BRIGHT = [(118, 118, 118), (231, 72, 86), (22, 198, 12), (230, 180, 60), (88, 166, 255), (190, 90, 200), (97, 214, 214), (230, 230, 230)]
THEMES = {
    "dark": TerminalTheme((13, 17, 23), (214, 221, 228), BRIGHT, BRIGHT),
    "light": TerminalTheme((255, 255, 255), (31, 35, 40), ANSI, ANSI),
}
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
# rich's own format without the fonts that it fetches from the network, and without a window's frame.
FORMAT = f"""<svg viewBox="0 0 {{terminal_width}} {{terminal_height}}" xmlns="http://www.w3.org/2000/svg">
<style>
.{{unique_id}}-matrix {{{{ font-family: {FONT}; font-size: {{char_height}}px; line-height: {{line_height}}px; font-variant-east-asian: full-width; }}}}
{{styles}}
</style>
<defs>{{lines}}</defs>
<rect width="100%" height="100%" rx="8" fill="BACKGROUND"/>
<g transform="translate(10, 6)">{{backgrounds}}<g class="{{unique_id}}-matrix">{{matrix}}</g></g>
</svg>
"""


class Terminal:
    """A program in a terminal, and the screen that it made."""

    def __init__(self, command, environment, folder):
        self.screen = pyte.Screen(COLUMNS, LINES)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=folder, start_new_session=True
        )
        os.close(slave)

    def read(self, until, quiet=float("inf")):
        """Takes what the program writes until `until`, its end, or a pause of `quiet` seconds."""
        while (left := min(until - time.monotonic(), quiet)) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                text = os.read(self.master, 65536)
            except OSError:
                return
            self.stream.feed(text)

    def stop(self):
        self.process.terminate()
        self.read(time.monotonic() + 20)
        self.process.wait(20)


def style(character):
    colour = lambda name: None if name == "default" else (f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name.replace("brown", "yellow"))
    return Style(
        color=colour(character.fg), bgcolor=colour(character.bg), bold=character.bold, reverse=character.reverse, underline=character.underscore
    )


def lines(screen):
    made = []
    for row in range(screen.lines):
        line = Text(no_wrap=True)
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        for look, run in itertools.groupby(cells, style):
            line.append("".join(character.data for character in run), look)
        line.rstrip()
        made.append(line)
    while made and not made[-1].plain:
        made.pop()
    return made


def draw(folder, name, command, screen):
    shown = [Text.assemble(("$ ", "bold"), command), *lines(screen)]
    width = max(line.cell_len for line in shown)
    for theme, colours in THEMES.items():
        console = Console(record=True, width=width, file=open(os.devnull, "w"), force_terminal=True, color_system="truecolor")
        for line in shown:
            console.print(line, crop=False, soft_wrap=True)
        background = "rgb({},{},{})".format(*colours.background_color)
        svg = console.export_svg(theme=colours, code_format=FORMAT.replace("BACKGROUND", background), unique_id=name)
        # Room for the frame.
        frame = lambda size: f'viewBox="0 0 {float(size[1]) + 20:.0f} {float(size[2]) + 16:.0f}"'
        svg = re.sub(r'viewBox="0 0 (\S+) (\S+)"', frame, svg, count=1)
        (folder / f"{name}-{theme}.svg").write_text(svg.replace("&#160;", "\N{NO-BREAK SPACE}"), encoding="utf-8")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def main():
    program, folder = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    environment = {**kept, "TERM": "xterm-256color", "RABTRACE_API_LISTEN": f"127.0.0.1:{free_port()}"}
    with tempfile.TemporaryDirectory() as place:
        demo = Terminal([program, "demo"], environment, place)

        def picture(name, *arguments):
            terminal = Terminal([program, *arguments], environment, place)
            terminal.read(time.monotonic() + 30)
            code = terminal.process.wait(30)
            if code not in (0, 10):
                raise SystemExit(f"{arguments} ended with {code}:\n" + "\n".join(terminal.screen.display))
            words = [f"'{word}'" if " " in word else word for word in arguments]
            draw(folder, name, " ".join(["rabtrace", *words]), terminal.screen)

        try:
            demo.read(time.monotonic() + RUNS)
            if demo.process.poll() is not None:
                raise SystemExit("the demo ended:\n" + "\n".join(demo.screen.display))
            # Between two of its screens.
            demo.read(time.monotonic() + 5, quiet=0.4)
            draw(folder, "demo", "rabtrace demo", demo.screen)
            picture("paths", "paths", "--since", "5m", "--limit", "8")
            picture("path", "paths", "--path", "gateway > planner_queue > planner > search_queue > search")
        finally:
            demo.stop()


if __name__ == "__main__":
    main()

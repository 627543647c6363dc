"""A person at the keyboard, in a window.

In: `View`s. Out: actions and wishes. The game waits for a key; a held key goes on pressing. The only file that knows
pygame, which pufferlib brings along.

arrows, Z = A, X = B, Enter = START; other games: 0..9 for their first ten actions, or `--keys`
P pause, S keep the episode as it is and begin the next, D discard it and begin anew, Escape or closing the window: stop
"""

from __future__ import annotations

import os
from collections import deque

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame

from daddy_puffer.demos.game import Game, View
from daddy_puffer.demos.images import ImageFormat
from daddy_puffer.demos.players import Wish
from daddy_puffer.errors import UserError
from daddy_puffer.types import Action

WINDOW_WIDTH = 640  # pixels at least
REPEAT_AFTER_SECONDS = 0.3  # a key held so long goes on pressing
REPEAT_SECONDS = 0.12  # between two presses then
POLLS_PER_SECOND = 60
OUR_KEYS = {
    "down": Action.DOWN, "left": Action.LEFT, "right": Action.RIGHT, "up": Action.UP, "z": Action.A, "x": Action.B,
    "return": Action.START,
}  # fmt: skip
WISHES = {pygame.K_s: Wish.SAVE, pygame.K_d: Wish.DISCARD, pygame.K_ESCAPE: Wish.QUIT}
HELP = "P pause, S save, D discard, Esc stop"


def key_map(num_actions: int, keys: str, known: bool) -> dict[int, int]:
    """Action by key code; `keys` as in "left=1,space=0", empty = the usual ones.

    Raises:
        UserError: an unknown or reserved key, or no such action.
    """
    named: dict[str, str] = {key: str(int(action)) for key, action in OUR_KEYS.items()}
    if not known:
        named = {str(action): str(action) for action in range(min(10, num_actions))}
    if keys:
        pairs = [pair.partition("=") for pair in keys.split(",")]
        named = {key.strip(): action.strip() for key, _, action in pairs}
    found: dict[int, int] = {}
    for key, action in named.items():
        try:
            code, number = pygame.key.key_code(key), int(action)
        except ValueError as error:
            raise UserError(f"--keys {key}={action}: write KEY=ACTION, as in left=1,space=0") from error
        if code in WISHES or code == pygame.K_p:
            raise UserError(f"--keys {key}={action}: this key has a meaning already ({HELP})")
        if not 0 <= number < num_actions:
            raise UserError(f"--keys {key}={action}: actions are 0..{num_actions - 1}")
        found[code] = number
    return found


class Human:
    """See the module's text."""

    def __init__(self, num_actions: int, keys: str = "", known: bool = True) -> None:
        """Open nothing yet; `keys` as `key_map` reads them.

        Raises:
            UserError: there is no screen, or a key that cannot be used.
        """
        try:
            pygame.display.init()
        except pygame.error as error:
            raise UserError(
                f"no window can be opened ({error}): a screen is needed, or a virtual one (xvfb)"
            ) from error
        self._actions = key_map(num_actions, keys, known)
        self._events: deque[pygame.event.Event] = deque()  # that have not been looked at
        self._held: list[int] = []  # keys, the newest last
        self._held_since = 0  # milliseconds, as is the next one
        self._last_repeat = 0
        self._paused = False
        self._steps = 0
        self._screen: pygame.Surface | None = None
        self._clock = pygame.time.Clock()

    def begin(self, game: Game) -> None:
        """An episode begins."""
        self._game = game
        self._steps = 0

    def act(self, view: View) -> int | Wish:
        """Show the game, wait for a key."""
        self._draw()
        while True:
            chosen = self._pressed()
            if chosen is None and not self._paused:
                chosen = self._repeated()
            if chosen is not None:
                self._steps += 1
                return chosen
            self._clock.tick(POLLS_PER_SECOND)

    def close(self) -> None:
        """Close the window."""
        pygame.display.quit()

    def _pressed(self) -> int | Wish | None:
        """What the next key that means something wants; the ones after it wait."""
        self._events.extend(pygame.event.get())
        while self._events:
            event = self._events.popleft()
            if event.type == pygame.QUIT:
                return Wish.QUIT
            if event.type == pygame.KEYUP and event.key in self._held:
                self._held.remove(event.key)
            if event.type != pygame.KEYDOWN:
                continue
            if event.key in WISHES:
                return WISHES[event.key]
            if event.key == pygame.K_p:
                self._paused = not self._paused
                self._title()
            elif event.key in self._actions and not self._paused:
                self._held.append(event.key)
                self._held_since = pygame.time.get_ticks()
                return self._actions[event.key]
        return None

    def _repeated(self) -> int | None:
        """What is held for long enough."""
        now = pygame.time.get_ticks()
        due = now - self._held_since >= 1000 * REPEAT_AFTER_SECONDS and now - self._last_repeat >= 1000 * REPEAT_SECONDS
        if not self._held or not due:
            return None
        self._last_repeat = now
        return self._actions[self._held[-1]]

    def _draw(self) -> None:
        """The newest frame, as large as whole pixels allow."""
        picture = ImageFormat(grey=False).apply(self._game.frame())
        height, width = picture.shape[:2]
        scale = max(1, -(-WINDOW_WIDTH // width))
        if self._screen is None or self._screen.get_size() != (scale * width, scale * height):
            self._screen = pygame.display.set_mode((scale * width, scale * height))
        large = np.repeat(np.repeat(picture.swapaxes(0, 1), scale, 0), scale, 1)
        pygame.surfarray.blit_array(self._screen, large)
        pygame.display.flip()
        self._title()

    def _title(self) -> None:
        state = "paused" if self._paused else f"step {self._steps}"
        pygame.display.set_caption(f"daddy-puffer demos record: {state} ({HELP})")

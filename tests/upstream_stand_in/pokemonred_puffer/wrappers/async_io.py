"""A wrapper that waits in a thread for states, and loads them into the game whatever it is doing."""

from __future__ import annotations

import threading
from typing import Any

import gymnasium


class AsyncWrapper(gymnasium.Wrapper):
    def __init__(self, env: gymnasium.Env, send_queues: list[Any], recv_queues: list[Any]) -> None:
        super().__init__(env)
        self.send_queue, self.recv_queue = send_queues[0], recv_queues[0]
        threading.Thread(target=self.update, daemon=True).start()

    def update(self) -> None:
        while True:
            message: bytes = self.recv_queue.get()
            self.env.unwrapped.update_state(message)  # a rate is loaded as if it were a state
            self.send_queue.put(0)

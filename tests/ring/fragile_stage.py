"""A stage that ends over one token: `python -m tests.ring.fragile_stage FILE stage …`.

FILE says, once it is there, which token, on which node, and how: `77 pi2 kill` as if the kernel had
ended the process, `77 pi2 raise` as if onnxruntime had failed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bramble.cli import main
from bramble.errors import Broken
from bramble.stage.engine import Engine, StepResult
from bramble.wire.messages import Step


def plant(file: Path, node: str) -> None:
    """Have this process's engine end over the token that `file` names, if it names `node`."""
    run_step = Engine.run

    def run(self: Engine, step: Step, alive: Callable[[], None] | None = None) -> StepResult:
        if file.exists():
            token, where, how = file.read_text().split()
            if where == node and int(token) in step.token_ids.ravel().tolist():
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise Broken(f"token {token} was planted")
        return run_step(self, step, alive)

    Engine.run = run  # type: ignore[method-assign]


if __name__ == "__main__":
    where, *words = sys.argv[1:]
    plant(Path(where), next(word for word in words if word.startswith("--node="))[7:])
    sys.exit(main(words))

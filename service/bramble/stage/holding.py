"""The shard that a stage has: its files found or fetched, loaded, watched, and made anew."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from bramble.config import StageConfig
from bramble.errors import BadShard
from bramble.observe.repeats import Repeats
from bramble.stage.engine import Engine
from bramble.stage.exchange.protocol import Exchange
from bramble.stage.figures import damage
from bramble.stage.proof import Proofs
from bramble.stage.scrub import Scrub
from bramble.stage.slices import are_made
from bramble.stage.supply import Supply
from bramble.stage.warming import settle
from bramble.wire import messages as m

log = logging.getLogger(__name__)


class Holding:
    def __init__(
        self, config: StageConfig, alive: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        """Hold nothing yet. Raises BadInput where the settings name no address for files.

        alive  called between the parts of a load
        say    shows a sentence to whoever looks at the service
        """
        self.engine: Engine | None = None
        self.assign: m.Assign | None = None  # that the engine is for; None without an engine
        self._config, self._alive, self._say = config, alive, say
        self._proofs = Proofs(config.packed)
        self._damages = Repeats()
        self.supply = Supply(config.models, config.files, self._proofs)
        self.scrub = Scrub(self._proofs)

    def take(self, assign: m.Assign, exchange: Exchange | None) -> bool:
        """Have an empty engine for this assignment; False if files of it are on their way.

        Raises what keeps it from being loaded.
        """
        if self.engine is not None and _is_same_shard(self.assign, assign):
            self.supply.stop()
            self.engine.reset(exchange)
        elif not self._load(assign, exchange):
            return False
        self.assign = assign
        return True

    def drop(self) -> None:
        self.scrub.stop()
        self.assign = self.engine = None

    def look_after(self, may_fetch: bool) -> str | None:
        """Say why it must not be computed with any more: a file has changed; None if it may be.

        may_fetch  nothing else is being fetched: what lies damaged beside is fetched anew
        """
        if self.assign is None:
            return None
        for path, why in self.scrub.wrong(serving=True).items():
            return f"{path} {why}; it is made anew"
        if self.damage and may_fetch:
            self.supply.repair_aside(self.assign)
        return None

    @property
    def damage(self) -> str:
        """What is wrong with files that nothing is computed with; "" = nothing."""
        wrong = self.scrub.wrong(serving=False) if self.engine is not None else None
        return damage(wrong) if wrong else ""

    def _load(self, assign: m.Assign, exchange: Exchange | None) -> bool:
        found = self.supply.find(assign)
        if found is None:
            return False
        folder, manifest = found
        self.drop()  # its memory goes before the new one's comes
        share, config = assign.share.completed(manifest.shape), self._config
        what = "loading"
        if not (share.is_whole(manifest.shape) or are_made(config.packed, manifest, share)):
            what = "cutting, then loading its part of"
        self._say(f"{assign.model}: {what} layers {share.start} to {share.stop - 1}")
        try:
            engine = Engine(
                folder,
                manifest,
                assign,
                config.threads,
                config.packed,
                self._alive,
                self._proofs,
                exchange,
            )
        except BadShard as error:
            if not self.supply.repair(assign):
                raise
            if (more := self._damages.tell(str(error), time.monotonic())) is not None:
                log.warning("event=damaged reason=%r now='fetched anew'%s", str(error), more)
            return False
        self.engine = engine
        self._damages.end()
        self.supply.trust()
        others = {p: file for p, file in engine.originals.items() if p not in engine.files}
        self.scrub.begin(engine.files, others)
        settle()
        return True


def _is_same_shard(old: m.Assign | None, new: m.Assign) -> bool:
    """True if only epoch, plan or neighbours differ, so that the loaded weights can stay."""
    if old is None or new.is_suspect:
        return False
    return new == replace(
        old,
        plan_id=new.plan_id,
        epoch=new.epoch,
        next=new.next,
        first_endpoint=new.first_endpoint,
        first_node=new.first_node,
        previous_node=new.previous_node,
        last_node=new.last_node,
        is_suspect=False,
        term=new.term,
        group=new.group,
        exchange_key=new.exchange_key,
        exchange=new.exchange,
    )

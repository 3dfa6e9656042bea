"""The way to a stage: one channel, or where several processes serve it together one to each."""

from __future__ import annotations

from bramble.errors import BadInput
from bramble.wire.frames import Buffer, pack
from bramble.wire.messages import Member, Message
from bramble.wire.transport import Channel, Transport


class Fan:
    """Sends the same to all members of a stage."""

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        self._channels = channels

    def send(self, message: Message) -> None:
        """Queue the message for each; see send_frames."""
        self.send_frames(pack(message))

    def send_frames(self, frames: list[Buffer]) -> None:
        """Copy and queue packed frames for each. Raises Broken if one of them takes nothing."""
        for channel in self._channels:
            channel.send_frames(frames)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


def to_all(transport: Transport, members: tuple[Member, ...]) -> Channel | Fan:
    """Connect to each. Raises BadInput for an address that is none, or a node without a key."""
    channels: list[Channel] = []
    try:
        for member in members:
            channels.append(transport.push(member.endpoint, member.node))
    except BadInput:
        Fan(tuple(channels)).close()
        raise
    return channels[0] if len(channels) == 1 else Fan(tuple(channels))

"""Three messages by which two members prove to each other that they belong to one epoch's group.

Each is authenticated by the group's key over all that was said before it on this connection, so
that what was recorded of another connection or epoch proves nothing. No sockets here.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass, field

from bramble.errors import BadFrame, Broken

ASK, ANSWER, CONFIRM = 1, 2, 3
MAGIC = b"BRMG"
VERSION = 1
# magic, version, kind, sender, recipient, size of the group, form, epoch, salt, challenge
BODY = struct.Struct("<4sBBBBBBxxI16s16s")
MAC_BYTES = 32
GREETING_BYTES = BODY.size + MAC_BYTES
RANDOM_BYTES = 16


@dataclass(frozen=True, slots=True)
class Member:
    """This process as one member of one epoch's group.

    key     32 bytes, the group's in this epoch
    form    number of the form on the wire; all members use the same
    """

    key: bytes = field(repr=False)
    epoch: int
    rank: int
    size: int
    form: int
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(RANDOM_BYTES), repr=False)

    def greet(self, kind: int, recipient: int, said: bytes) -> bytes:
        """Return the greeting that comes after what has been `said` on this connection."""
        body = BODY.pack(
            MAGIC,
            VERSION,
            kind,
            self.rank,
            recipient,
            self.size,
            self.form,
            self.epoch,
            self.salt,
            secrets.token_bytes(RANDOM_BYTES),
        )
        return body + self._mac(said + body)

    def believe(self, greeting: bytes, kind: int, said: bytes) -> tuple[int, bytes]:
        """Return the rank and the salt of who sent this greeting after what has been `said`.

        Raises BadFrame if it is not meant for us or proves nothing, and Broken if it is a member
        of our group that was set up differently.
        """
        body, mac = greeting[: BODY.size], greeting[BODY.size :]
        if len(greeting) != GREETING_BYTES or not hmac.compare_digest(mac, self._mac(said + body)):
            raise BadFrame("a greeting that this epoch's key does not prove")
        magic, version, got, sender, recipient, size, form, epoch, salt, _ = BODY.unpack(body)
        if (magic, version, got, epoch) != (MAGIC, VERSION, kind, self.epoch):
            raise BadFrame(f"a greeting of version {version}, kind {got} and epoch {epoch}")
        if recipient != self.rank or sender == self.rank or sender >= self.size:
            raise BadFrame(f"a greeting from rank {sender} to rank {recipient}")
        if (size, form) != (self.size, self.form):
            raise Broken(
                f"rank {sender} is set up for {size} members and form {form}, this member for "
                f"{self.size} and {self.form}; assign the group anew"
            )
        return sender, salt

    def sender_key(self, rank: int, salt: bytes) -> bytes:
        """Return the 32 bytes that the member of this rank and salt seals its messages with."""
        what = b"sender" + struct.pack("<IB", self.epoch, rank) + salt
        return hmac.digest(self.key, what, "sha256")

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(self.key, b"greeting" + said, "sha256")

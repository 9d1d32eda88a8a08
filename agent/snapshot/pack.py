"""Chunk to compressed, sealed bytes, and back; and the open pack that many threads seal their frames into."""

from __future__ import annotations

import os
import queue
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from agent.snapshot.errors import SnapshotError
from shared.domain.manifest import associated, nonce, object_key

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW, ZSTD, PLANES2, PLANES4 = 0, 1, 2, 4
"""Codecs of a frame. Planes: every 2nd or 4th byte of it together, as the exponents of 16- and 32-bit floats compress and
their fractions do not."""
TAG = 16
SAMPLE = 16 << 10
TEXT_LIKE = 0.6
"""Samples that zstd shrinks below this share are no floats."""
PAYS = 0.95
PACK = 8 << 20
LARGEST = 256 << 20
"""Of a frame or a manifest's section, expanded: several times what is ever written."""
UPLOADERS = 3
PIECE = 64 << 10
"""Bytes of each plane that are put together at once."""
_LENGTH = struct.Struct("<I")

Bytes = bytes | bytearray | memoryview


def chunk_id(data: Bytes, id_key: bytes) -> bytes:
    """A chunk's name: keyed, so that storage learns nothing of the content. 20 bytes of BLAKE3."""
    from blake3 import blake3

    digest: bytes = blake3(data, key=id_key).digest(20)
    return digest


def id_key(key: bytes) -> bytes:
    return object_key(key, "chunk ids")


class _Zstd(threading.local):
    """Two compressors a thread: making one costs more than compressing a small file.

    Planes hold few values in no order. Every repetition that zstd finds in them is chance, and costs more to look for and to
    write down than coding the values does: a table of 64 places finds hardly any, but still sees long runs.
    """

    def __init__(self) -> None:
        self._text = zstd.ZstdCompressor(level=1)
        self._plane = zstd.ZstdCompressor(
            options={zstd.CompressionParameter.compression_level: 1, zstd.CompressionParameter.hash_log: 6}
        )

    def compress(self, data: Bytes) -> bytes:
        return self._text.compress(data, mode=zstd.ZstdCompressor.FLUSH_FRAME)

    def plane(self, data: Bytes) -> bytes:
        return self._plane.compress(data, mode=zstd.ZstdCompressor.FLUSH_FRAME)


_zstd = _Zstd()


class Room(threading.local):
    """A buffer of each thread that is used again: fresh memory costs as much as what is done with it."""

    def __init__(self) -> None:
        self._room = memoryview(bytearray(1))

    def of(self, size: int) -> memoryview:
        if len(self._room) < size:
            self._room = memoryview(bytearray(size))
        return self._room[:size]


_apart_room = Room()


def compress(data: Bytes) -> tuple[int, Sequence[Bytes]]:
    """A chunk's codec and payload in parts; what a few samples say cannot shrink stays as it is.

    The parts are valid until the same thread's next call.
    """
    codec = choose(data)
    if codec in (PLANES2, PLANES4):
        return codec, _planes(data, codec)
    codec, payload = squeeze(data) if codec == ZSTD else (RAW, data)
    return codec, (payload,)


def squeeze(data: Bytes) -> tuple[int, Bytes]:
    """Codec and payload of what holds no floats that line up: text, or many files one after another."""
    small = _zstd.compress(data)
    return (ZSTD, small) if len(small) < len(data) else (RAW, data)


def choose(data: Bytes) -> int:
    """The codec that three samples speak for."""
    size = len(data)
    if size <= 4 * SAMPLE:
        return ZSTD
    step = (size - SAMPLE) // 2 & ~3
    sample = b"".join(data[at : at + SAMPLE] for at in (0, step, 2 * step))
    best, codec = len(_zstd.compress(sample)) / len(sample), ZSTD
    if best > TEXT_LIKE:
        for planes in (PLANES2, PLANES4):
            share = sum(min(1.0, _share(sample[n::planes])) for n in range(planes)) / planes
            if share < best - 0.02:
                best, codec = share, planes
    return codec if best < PAYS else RAW


def _share(plane: Bytes) -> float:
    share = len(_zstd.plane(plane)) / len(plane)
    return share if share < PAYS else 1.0


def _planes(data: Bytes, count: int) -> list[Bytes]:
    """Each plane with the length of its compressed form, 0 when it stays raw; then what does not fill a whole item.

    What stays raw is valid until the same thread's next call.
    """
    each = len(data) // count
    whole = each * count
    room = _apart_room.of(whole)
    _apart(count, data, room)
    parts: list[Bytes] = []
    for number in range(count):
        plane = room[number * each : (number + 1) * each]
        small = _zstd.plane(plane) if _share(plane[: 2 * SAMPLE]) < 1.0 else plane
        parts += (_LENGTH.pack(len(small)), small) if len(small) < each else (_LENGTH.pack(0), plane)
    parts.append(data[whole:])
    return parts


def expand(codec: int, payload: Bytes, raw_length: int) -> Bytes:
    """What was compressed, in one. Raises SnapshotError as `pieces` does."""
    return b"".join(map(bytes, pieces(codec, payload, raw_length)))


def pieces(codec: int, payload: Bytes, raw_length: int) -> Iterator[Bytes]:
    """What was compressed, a piece after the other, each valid until the next: floats are put together again in pieces that stay
    in a core's cache.

    Raises SnapshotError, at the latest after the last piece, when it is not `raw_length` long or of a codec to come.
    """
    if not 0 <= raw_length <= LARGEST:
        raise SnapshotError(f"a frame cannot have {raw_length} bytes")
    if codec not in (RAW, ZSTD, PLANES2, PLANES4):
        raise SnapshotError(f"frame codec {codec} is of a newer version")
    length = 0
    try:
        if codec == RAW:
            found: Iterable[Bytes] = (payload,)
        elif codec == ZSTD:
            # No more than tells that it is too long: whoever had the key may have written what grows without end.
            found = (zstd.ZstdDecompressor().decompress(payload, raw_length + 1),)
        else:
            found = _merged(payload, codec, raw_length // codec)
        for piece in found:
            length += len(piece)
            yield piece
    except (zstd.ZstdError, struct.error, ValueError, EOFError) as error:
        raise SnapshotError(f"a frame does not expand: {error}") from error
    if length != raw_length:
        raise SnapshotError(f"a frame has {length} instead of {raw_length} bytes")


class _Plane:
    """Bytes of one plane in turn."""

    def __init__(self, packed: Bytes, raw: bool) -> None:
        self._rest = packed
        self._expander = None if raw else zstd.ZstdDecompressor()

    def take(self, size: int) -> Bytes:
        if self._expander is None:
            taken, self._rest = self._rest[:size], self._rest[size:]
        else:
            packed, self._rest = self._rest, b""
            taken = self._expander.decompress(packed, size)
        if len(taken) != size:
            raise SnapshotError("a plane is shorter than the others")
        return taken

    def check(self) -> None:
        if self._expander is not None and not self._expander.eof and self._expander.decompress(b"", 1):
            raise SnapshotError("a plane is longer than the others")


def _merged(payload: Bytes, count: int, each: int) -> Iterator[Bytes]:
    view, at = memoryview(payload), 0
    planes = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        size = length or each
        planes.append(_Plane(view[at : at + size], raw=not length))
        at += size
    for start in range(0, each, PIECE):
        size = min(PIECE, each - start)
        if not start or size < PIECE:
            # A view refuses a plane of another length; a bytearray would grow.
            apart, together = memoryview(bytearray(size * count)), bytearray(size * count)
        for number, plane in enumerate(planes):
            apart[number * size : (number + 1) * size] = plane.take(size)
        _together(count, apart, together)
        yield together
    for plane in planes:
        plane.check()
    yield view[at:]


def _apart(count: int, data: Bytes, planes: memoryview) -> None:
    """Set every `count`-th byte together: as many planes as fill `planes`."""
    if (blosc := _blosc()) is not None:
        blosc.shuffle(count, len(planes), _place(data), _place(planes))
        return
    each = len(planes) // count
    for number in range(count):
        planes[number * each : (number + 1) * each] = data[number : len(planes) : count]


def _together(count: int, planes: memoryview, data: bytearray) -> None:
    """What `_apart` took apart, of one length with it."""
    if (blosc := _blosc()) is not None:
        blosc.unshuffle(count, len(planes), _place(planes), _place(data))
        return
    each = len(planes) // count
    for number in range(count):
        data[number::count] = planes[number * each : (number + 1) * each]


def _place(data: Bytes) -> Any:
    """Where the library finds bytes, without a copy; a view is one of a bytearray."""
    import ctypes

    return data if isinstance(data, bytes) else (ctypes.c_char * len(data)).from_buffer(data)


class _Blosc(NamedTuple):
    """Functions of the Blosc2 library, which use the machine's vector instructions: bytes of an item, bytes in all, from, to."""

    shuffle: Callable[[int, int, Any, Any], int]
    unshuffle: Callable[[int, int, Any, Any], int]


@cache
def _blosc() -> _Blosc | None:
    """None where Blosc2 is missing: bytes are set apart at a stride then, which is slow.

    Of its library only: the package around it needs NumPy.
    """
    import ctypes
    from importlib.util import find_spec

    try:
        spec = find_spec("blosc2")
        if spec is None or not spec.submodule_search_locations:
            return None
        path = os.path.join(spec.submodule_search_locations[0], "lib", "libblosc2.so")
        shuffle = ctypes.CDLL(path).blosc2_shuffle
        # Without giving the interpreter's lock away: a piece takes a few microseconds.
        unshuffle = ctypes.PyDLL(path).blosc2_unshuffle
    except (ImportError, OSError, AttributeError):
        return None
    for call in (shuffle, unshuffle):
        call.restype, call.argtypes = ctypes.c_int32, (ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
    return _Blosc(shuffle, unshuffle)


class Sealer:
    """Seals the frames of one object, each bound to its place."""

    def __init__(self, key: bytes, name: str) -> None:
        self._name = name
        self._cipher = _cipher(object_key(key, name))

    def seal(self, frame: int, payload: Bytes) -> bytes:
        sealed: bytes = self._cipher.encrypt(nonce(frame), bytes(payload), associated(self._name, frame))
        return sealed

    def seal_into(self, frame: int, payload: Bytes, room: memoryview) -> None:
        """Into `room`, which is `TAG` bytes longer."""
        self._cipher.encrypt_into(nonce(frame), payload, associated(self._name, frame), room)

    def open(self, frame: int, sealed: Bytes) -> bytes:
        """Raises SnapshotError when one bit of it, or its place, is not as it was sealed."""
        from cryptography.exceptions import InvalidTag

        try:
            payload: bytes = self._cipher.decrypt(nonce(frame), sealed, associated(self._name, frame))
        except InvalidTag as error:
            raise SnapshotError(f"frame {frame} of {self._name} is damaged or sealed with another key") from error
        return payload

    def open_into(self, frame: int, sealed: Bytes, room: memoryview) -> None:
        """As `open`, into `room`, which is `TAG` bytes shorter."""
        from cryptography.exceptions import InvalidTag

        try:
            self._cipher.decrypt_into(nonce(frame), sealed, associated(self._name, frame), room)
        except InvalidTag as error:
            raise SnapshotError(f"frame {frame} of {self._name} is damaged or sealed with another key") from error


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


class _Open:
    def __init__(self, number: int, name: str, url: str, sealer: Sealer, body: bytearray) -> None:
        self.number, self.name, self.url, self.sealer, self.body = number, name, url, sealer, body
        self.used = self.frames = self.writers = 0
        self.full = False


class Placed(NamedTuple):
    """Where a frame lies: pack's number, offset, sealed length, number in the pack."""

    pack: int
    offset: int
    length: int
    frame: int


class Packer:
    """The open pack and the uploaders behind it. A fixed number of buffers bounds the memory: whoever finds none waits.

    `address` gives the number, key and address of a pack that nobody has written; `put` writes one object; `closed` is
    told each pack's size.
    """

    def __init__(
        self,
        key: bytes,
        address: Callable[[], tuple[int, str, str]],
        put: Callable[[str, str, Bytes], None],
        closed: Callable[[int, int], None],
    ) -> None:
        self._key, self._address, self._put, self._closed = key, address, put, closed
        self._guard = threading.Lock()
        self._current: _Open | None = None
        self._error: BaseException | None = None
        # The last one given back is taken first: its memory is warm, and no more of them come to be than are needed at once.
        self._room: queue.LifoQueue[bytearray | None] = queue.LifoQueue()
        for _ in range(UPLOADERS + 1):
            self._room.put(None)
        self._full: queue.SimpleQueue[_Open | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._upload, daemon=True) for _ in range(UPLOADERS)]
        for thread in self._threads:
            thread.start()

    def seal(self, parts: Sequence[Bytes]) -> Placed:
        """Seal one frame into the open pack. Raises SnapshotError when an upload failed."""
        length = sum(len(part) for part in parts) + TAG
        pack, offset, frame = self._reserve(length)
        room = memoryview(pack.body)[offset : offset + length]
        pack.sealer.seal_into(frame, parts[0] if len(parts) == 1 else b"".join(parts), room)
        with self._guard:
            pack.writers -= 1
            if pack.full and not pack.writers:
                self._full.put(pack)
        return Placed(pack.number, offset, length, frame)

    def _reserve(self, length: int) -> tuple[_Open, int, int]:
        with self._guard:
            self._check()
            if self._current is not None and self._current.used + length > len(self._current.body):
                self._close()
            if self._current is None:
                # Waits for an uploader while holding the guard: nobody else could go on either.
                body = self._room.get() or bytearray(PACK)
                self._check()
                number, name, url = self._address()
                if length > len(body):
                    body = bytearray(length)
                self._current = _Open(number, name, url, Sealer(self._key, name), body)
            pack = self._current
            offset, frame = pack.used, pack.frames
            pack.used, pack.frames, pack.writers = pack.used + length, pack.frames + 1, pack.writers + 1
            return pack, offset, frame

    def _check(self) -> None:
        if self._error is not None:
            raise SnapshotError(f"an upload failed: {self._error}") from self._error

    def _close(self) -> None:
        pack, self._current = self._current, None
        if pack is not None:
            pack.full = True
            if not pack.writers:
                self._full.put(pack)

    def finish(self) -> None:
        """Wait until every pack has arrived. Raises SnapshotError when one did not."""
        with self._guard:
            self._close()
        self._end()
        self._check()

    def abandon(self) -> None:
        """End the uploaders; what they wrote is named by no manifest and goes with the next prune."""
        self._error = self._error or SnapshotError("abandoned")
        self._room.put(None)
        self._end()

    def _end(self) -> None:
        for _ in self._threads:
            self._full.put(None)
        for thread in self._threads:
            thread.join()

    def _upload(self) -> None:
        while (pack := self._full.get()) is not None:
            if self._error is None:
                try:
                    self._put(pack.name, pack.url, memoryview(pack.body)[: pack.used])
                    self._closed(pack.number, pack.used)
                except BaseException as error:
                    # Kept for the sealers, which stop and say so; the queue is drained so that nobody waits for ever.
                    self._error = error
            self._room.put(pack.body)

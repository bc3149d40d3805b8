"""Memory that a worker process shares with the main one: its heartbeat, its task, the arrays of its items."""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import tempfile
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any

from vfx.system import heartbeat

SLOTS = 2  # items that a worker may have ready; more only costs memory
SLOT_BYTES = 80 << 20  # for the arrays of one item; the system gives memory only as it is used
HEADER_BYTES = mmap.PAGESIZE  # the heartbeat, then the number of the current task


def anonymous_file(name: str) -> int:
    """A descriptor of a file without a name, in memory where the system can (memfd_create).

    It does not need /dev/shm, which in a container is often 64 MB.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@dataclass(frozen=True)
class PackedItem:
    """A pickled item without its arrays, and its slot.

    `arrays`: the bytes of each array in the slot; or the arrays themselves if they do not fit into it.
    """

    item: bytes
    slot: int
    arrays: list[int] | list[bytes]


class SharedMemory:
    """A heartbeat, the number of the current task, and SLOTS slots for the arrays of items.

    It can be an argument of a new process, which then has the same memory.

    Args:
        descriptor: of a file that `create` made, or its duplicate in the worker; this object closes it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, HEADER_BYTES + SLOTS * SLOT_BYTES)
        self.clock = memoryview(self._memory)[:8]
        self._slot = 0

    @classmethod
    def create(cls) -> SharedMemory:
        """New memory, of a worker that waits for its first task."""
        descriptor = anonymous_file("vfx")
        os.ftruncate(descriptor, HEADER_BYTES + SLOTS * SLOT_BYTES)
        shared = cls(descriptor)
        shared.task_number = -1
        shared.clock.cast("d")[0] = heartbeat.PAUSED
        return shared

    def __reduce__(self) -> Any:
        return _open_duplicate, (reduction.DupFd(self._descriptor),)

    @property
    def task_number(self) -> int:
        """The number of the task that the worker began last; -1 before the first."""
        return int(struct.unpack_from("q", self._memory, 8)[0])

    @task_number.setter
    def task_number(self, value: int) -> None:
        struct.pack_into("q", self._memory, 8, value)

    def pack(self, item: object) -> PackedItem:
        """Copy an item's arrays into the next slot, whose item before must have been unpacked."""
        buffers: list[pickle.PickleBuffer] = []
        rest = pickle.dumps(item, protocol=5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        slot, self._slot = self._slot, (self._slot + 1) % SLOTS
        if sum(array.nbytes for array in raw) > SLOT_BYTES:
            return PackedItem(rest, slot, [bytes(array) for array in raw])
        at = HEADER_BYTES + slot * SLOT_BYTES
        for array in raw:
            self._memory[at : at + array.nbytes] = array
            at += array.nbytes
        return PackedItem(rest, slot, [array.nbytes for array in raw])

    def unpack(self, packed: PackedItem) -> Any:
        """The item, with copies of its arrays; its slot can be used again."""
        arrays = []
        at = HEADER_BYTES + packed.slot * SLOT_BYTES
        for array in packed.arrays:
            if isinstance(array, bytes):
                arrays.append(bytearray(array))
            else:
                arrays.append(bytearray(memoryview(self._memory)[at : at + array]))
                at += array
        return pickle.loads(packed.item, buffers=arrays)

    def close(self) -> None:
        """Unmap the memory and close the descriptor."""
        self.clock.release()
        self._memory.close()
        os.close(self._descriptor)


def _open_duplicate(duplicate: Any) -> SharedMemory:
    return SharedMemory(int(duplicate.detach()))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Syncing a file without waiting for it and without a thread: Linux's asynchronous I/O (io_submit(2), FDSYNC).

A thread that syncs has to win the interpreter's lock back from a busy event loop, which costs several times what
the call itself does. The kernel tells of the end through an eventfd, which the loop watches. Where there is no such
call (another system, a sandbox that forbids it) a thread does it.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Syncer"]

# io_setup, io_destroy, io_getevents, io_submit
_NUMBERS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
_FDSYNC = 3  # IOCB_CMD_FDSYNC
_RESFD = 1  # IOCB_FLAG_RESFD
_IOCB = struct.Struct("=QIiHhIQQqQII")  # struct iocb of linux/aio_abi.h, 64 bytes
_EVENT = struct.Struct("=QQqq")  # struct io_event


class _Unavailable(OSError):
    """The kernel has no asynchronous sync for us."""


class _Context:
    """A kernel context for one operation at a time. Raises _Unavailable."""

    def __init__(self) -> None:
        numbers = _NUMBERS.get(platform.machine())
        # A 32-bit Python has other numbers, whatever the kernel is.
        if numbers is None or sys.platform != "linux" or struct.calcsize("P") != 8:
            raise _Unavailable(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._setup, self._destroy, self._getevents, self._submit = map(ctypes.c_long, numbers)
        # These calls only hand something over: the interpreter's lock is not worth giving up for them.
        self._syscall = ctypes.PyDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        self._id = ctypes.c_ulong(0)
        self._call(self._setup, ctypes.c_long(1), ctypes.byref(self._id))
        try:
            self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            self._call(self._destroy, self._id)
            raise
        self._iocb = ctypes.create_string_buffer(_IOCB.size)
        self._pointers = (ctypes.c_void_p * 1)(ctypes.addressof(self._iocb))
        self._event = ctypes.create_string_buffer(_EVENT.size)

    def _call(self, *arguments: object) -> int:
        result = self._syscall(*arguments)
        if result < 0:
            code = ctypes.get_errno()
            raise _Unavailable(code, os.strerror(code))
        return int(result)

    def begin(self, fd: int) -> None:
        """Begin to sync a file."""
        _IOCB.pack_into(self._iocb, 0, 0, 0, 0, _FDSYNC, 0, fd, 0, 0, 0, 0, _RESFD, self.eventfd)
        self._call(self._submit, self._id, ctypes.c_long(1), self._pointers)

    def result(self) -> int | None:
        """0, or the error number with a minus; None when it has not ended."""
        try:
            os.eventfd_read(self.eventfd)
        except BlockingIOError:
            return None
        if not self._call(self._getevents, self._id, ctypes.c_long(0), ctypes.c_long(1), self._event, None):
            return None
        return int(_EVENT.unpack(self._event)[2])

    def close(self) -> None:
        """Wait for what is under way and let go."""
        self._call(self._destroy, self._id)
        os.close(self.eventfd)


class Syncer:
    """Syncs one file at a time for one event loop (fdatasync(2))."""

    def __init__(self) -> None:
        self._context: _Context | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._done: Callable[[OSError | None], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1

    def begin(self, loop: asyncio.AbstractEventLoop, fd: int, done: Callable[[OSError | None], None]) -> None:
        """Sync a file; `done` gets None or the error, on the loop. To be called again only after that."""
        if self._loop is None:
            self._loop = loop
            try:
                self._context = _Context()
                loop.add_reader(self._context.eventfd, self._ended)
            except OSError:
                self._context = None
        self._done = done
        self._fd = fd
        if self._context is not None:
            try:
                self._context.begin(fd)
                return
            except OSError:
                self._give_up()
        self._begin_in_thread(loop)

    def _begin_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue-sync")
            ended = loop.run_in_executor(self._thread, os.fdatasync, self._fd)
        except RuntimeError as error:  # the system gives no thread
            loop.call_soon(self._tell, OSError(errno.EAGAIN, str(error)))
        else:
            ended.add_done_callback(self._thread_ended)

    def _ended(self) -> None:
        assert self._context is not None
        assert self._loop is not None
        try:
            result = self._context.result()
        except OSError:
            result = -errno.ENOSYS
        if result is None:
            return
        if -result in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            # Not on this file system.
            self._give_up()
            self._begin_in_thread(self._loop)
            return
        self._tell(OSError(-result, os.strerror(-result)) if result else None)

    def _give_up(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            assert self._loop is not None
            self._loop.remove_reader(context.eventfd)
            context.close()

    def _thread_ended(self, future: asyncio.Future[None]) -> None:
        if future.cancelled():
            self._tell(OSError(errno.ECANCELED, os.strerror(errno.ECANCELED)))
            return
        error = future.exception()
        self._tell(error if error is None or isinstance(error, OSError) else OSError(errno.EIO, repr(error)))

    def _tell(self, error: OSError | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(error)

    def close(self) -> None:
        """End; blocks until what was begun has ended. `done` is not called any more. On the loop's thread."""
        self._done = None
        self._give_up()
        if self._thread is not None:
            self._thread.shutdown()

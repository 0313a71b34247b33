"""Passwords as argon2id hashes; a few verifications at a time, and as slow for a name that does not exist."""

from __future__ import annotations

import asyncio
import re
import secrets as random
import unicodedata
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from dsdc.errors import Busy, DsdcError

# OWASP's first choice for argon2id. Parallel verifications each take this much memory.
MEMORY_KIB = 19 * 1024
TIME_COST = 2

MIN_LENGTH = 12
MAX_LENGTH = 256
_UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

_hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1, type=Type.ID)


class WeakPassword(DsdcError):
    """The password is not acceptable."""

    category = "password"


def _canonical(password: str) -> str:
    # One password typed on two keyboards may arrive composed or decomposed.
    return unicodedata.normalize("NFKC", password)


def check_strength(password: str, *, name: str = "") -> None:
    """Refuse what is too short, too long, unreadable, of a few characters only, or the user's own name.

    Raises:
        WeakPassword: saying what to change.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise WeakPassword(f"The password needs {MIN_LENGTH} to {MAX_LENGTH} characters.", hint="A sentence is good.")
    if _UNSTORABLE.search(password):
        raise WeakPassword("The password has control characters.", hint="Use characters that can be typed.")
    if len(set(password)) < 5 or (name and name in password.lower() and len(password) < len(name) + MIN_LENGTH):
        raise WeakPassword("The password is too easy to guess.", hint="Use several unrelated words.")


def hash_password(password: str) -> str:
    """The argon2id hash in PHC form, parameters and salt included."""
    return _hasher.hash(_canonical(password))


def verify(stored: str, password: str) -> bool:
    """Whether `password` is the one that was hashed; about 20 ms and 19 MiB."""
    if len(password) > MAX_LENGTH or _UNSTORABLE.search(password):
        password = ""  # which nobody has; the work is done all the same, so that time tells nothing
    try:
        return _hasher.verify(stored, _canonical(password))
    except (VerificationError, InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _hasher.check_needs_rehash(stored)


class PasswordDesk:
    """Verifies passwords off the event loop, `clerks` at a time; who finds `places` waiting is sent away.

    Memory is bounded by `clerks` x 19 MiB however many sign in at once.
    """

    def __init__(self, *, clerks: int = 2, places: int = 256) -> None:
        self._turn = asyncio.Semaphore(clerks)
        self._pool = ThreadPoolExecutor(clerks, thread_name_prefix="argon2")
        self._places = places
        self._waiting = 0
        self._nobody = hash_password(random.token_urlsafe(32))

    async def __aenter__(self) -> PasswordDesk:
        """Wait for a turn.

        Raises:
            Busy: too many wait already.
        """
        if self._waiting >= self._places:
            raise Busy("Too many sign-ins at once.", retry_after_s=5)
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()

    async def verify(self, stored: str | None, password: str) -> bool:
        """Check within a turn; None (no such user) takes as long and is never right."""
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._pool, verify, stored or self._nobody, password)
        return matches and stored is not None

    async def hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._pool, hash_password, password)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

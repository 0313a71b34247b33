"""Every error the platform raises on purpose; each docstring is the error's default message.

::

    DsdcError
    ├── SetupError                     the machine or the configuration has to be mended first
    │   ├── SettingsError              config.yaml, config.local.yaml or a DSDC_* variable
    │   ├── SecretsError               .secrets
    │   ├── MissingSystemPackage
    │   └── PortTaken
    ├── DocumentError                  this one document cannot be processed; `category` is stored with it
    │   ├── EmptyFile                  empty
    │   ├── UnsupportedType            unsupported
    │   ├── CorruptFile                corrupt
    │   ├── EncryptedFile              encrypted
    │   ├── TooLarge                   too_large
    │   ├── TookTooLong                timeout
    │   ├── Forgotten                  forgotten
    │   └── CrashesParsers             crashed
    ├── ParserDied                     the process that read a document ended; whose fault it was shows when tried again
    │   └── ParserKilled               nobody's in here: it was killed from outside
    ├── StorageError                   bytes that should be there
    │   ├── BytesMissing
    │   └── HashMismatch
    ├── DatabaseError
    │   ├── DatabaseUnavailable
    │   └── LeaseLost                  another worker owns this work now
    ├── ModelError
    │   ├── WeightsError               weights, CLIP's or a head's, missing, corrupt or with another hash
    │   ├── ModelMismatch              a head that was trained on what other processors made
    │   ├── NoChampion
    │   ├── TrackingUnavailable        MLflow does not answer
    │   └── NotEnoughLabels
    ├── PurposeFailed                  a task ran, but what it was for did not happen
    ├── Stopped                        somebody asked it to end before it was done
    ├── NotFound
    ├── Conflict
    │   └── StillRunning               the same request is being worked on
    ├── KeyReused                      an idempotency key came with another request before
    ├── GivenUp                        tried too often
    ├── Busy                           more waits than the service will hold
    └── AccessError
        ├── InvalidCredentials
        ├── InvalidToken
        ├── Forbidden
        └── TooManyAttempts

The tree knows no HTTP; `dsdc/web/errors.py` translates it.
"""

from __future__ import annotations


class DsdcError(Exception):
    """Something went wrong."""

    category = "error"

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        #: What the reader can do about it, in the imperative.
        self.hint = hint
        super().__init__(self.message if hint is None else f"{self.message} {hint}")


class SetupError(DsdcError):
    """The platform is not set up."""

    category = "setup"


class SettingsError(SetupError):
    """The configuration is not valid."""


class SecretsError(SetupError):
    """The secrets are missing or not strong enough."""


class MissingSystemPackage(SetupError):
    """A system package is missing."""


class PortTaken(SetupError):
    """Another program listens on a port that the platform needs."""


class DocumentError(DsdcError):
    """The document cannot be processed."""

    category = "failed"


class EmptyFile(DocumentError):
    """The file has no bytes."""

    category = "empty"


class UnsupportedType(DocumentError):
    """The file is of no supported type (PDF, TIFF, PNG, JPEG, WebP, BMP, e-mail)."""

    category = "unsupported"


class CorruptFile(DocumentError):
    """The file is damaged and no page of it can be read."""

    category = "corrupt"


class EncryptedFile(DocumentError):
    """The file is encrypted and does not open with an empty password."""

    category = "encrypted"


class TooLarge(DocumentError):
    """The file is over a limit of config.yaml."""

    category = "too_large"


class TookTooLong(DocumentError):
    """A page took longer than the limits of config.yaml allow."""

    category = "timeout"


class Forgotten(DocumentError):
    """This document was forgotten on purpose."""

    category = "forgotten"


class CrashesParsers(DocumentError):
    """The document ends any process that reads it."""

    category = "crashed"


class ParserDied(DsdcError):
    """The process that read the document ended unexpectedly; try again."""

    category = "crashed"


class ParserKilled(ParserDied):
    """The process that read the document was killed from outside; try again."""


class StorageError(DsdcError):
    """The store of bytes failed."""

    category = "storage"


class BytesMissing(StorageError):
    """Bytes that the database names are not in the store."""


class HashMismatch(StorageError):
    """Stored bytes do not have the hash that they are named by."""


class DatabaseError(DsdcError):
    """The database failed."""

    category = "database"


class DatabaseUnavailable(DatabaseError):
    """The database does not answer."""


class LeaseLost(DatabaseError):
    """Another worker has taken over this work; the late result is refused."""


class ModelError(DsdcError):
    """The model failed."""

    category = "model"


class WeightsError(ModelError):
    """Weights, CLIP's or the head's, are missing, damaged or not the ones on record; `dsdc doctor` tells which."""


class ModelMismatch(ModelError):
    """The model was trained on what other processors made."""


class NoChampion(ModelError):
    """No model has been promoted yet."""


class TrackingUnavailable(ModelError):
    """MLflow does not answer."""


class NotEnoughLabels(ModelError):
    """There are not enough labelled documents to train on."""


class PurposeFailed(DsdcError):
    """The work ran, but its purpose was not met."""

    category = "purpose"


class Stopped(DsdcError):
    """The work was asked to stop before it was done; what was left can be taken up again."""

    category = "stopped"


class NotFound(DsdcError):
    """There is no such thing."""

    category = "not_found"


class Conflict(DsdcError):
    """That exists already."""

    category = "conflict"


class StillRunning(Conflict):
    """The first request with this idempotency key is still being answered; ask again shortly."""


class KeyReused(DsdcError):
    """This idempotency key came with another request before; use a new key for a new request."""

    category = "key_reused"


class GivenUp(DsdcError):
    """It failed too often and was given up."""

    category = "given_up"


class Busy(DsdcError):
    """More is waiting than the service will hold; try again shortly."""

    category = "busy"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AccessError(DsdcError):
    """Access is refused."""

    category = "access"


class InvalidCredentials(AccessError):
    """The user name or the password is wrong."""


class InvalidToken(AccessError):
    """The token is missing, expired or not valid."""


class Forbidden(AccessError):
    """The token's role does not allow this."""


class TooManyAttempts(AccessError):
    """Too many failed attempts; wait before the next one."""

    def __init__(self, message: str | None = None, *, retry_after_s: int = 60) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


#: Faults of the platform: nothing of them counts against a document, and whoever meets one stops or waits.
PLATFORM_FAULTS = (DatabaseError, StorageError, ModelError, SetupError)

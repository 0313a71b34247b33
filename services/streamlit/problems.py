"""Errors in the words of somebody who uploads documents."""

from __future__ import annotations

from dsdc import errors as e
from dsdc.client import ServiceUnreachable

#: The most special class first: the first that fits decides. (what happened, what to do)
_WORDS: tuple[tuple[type[e.DsdcError], str, str], ...] = (
    (e.EmptyFile, "The file is empty.", "Check it on your computer and upload it again."),
    (e.UnsupportedType, "This type of file is not supported.", "Send a PDF, an image or an e-mail (.eml)."),
    (e.EncryptedFile, "The file is protected with a password.", "Save it without one and upload it again."),
    (e.TooLarge, "The file is too large.", "Split it, or hand it in through the inbox folder."),
    (e.CorruptFile, "The file is damaged.", "Export or scan it again."),
    (e.DocumentError, "The file cannot be processed.", ""),
    (e.InvalidCredentials, "User name or password is wrong.", ""),
    (e.TooManyAttempts, "Too many failed attempts.", ""),
    (e.InvalidToken, "Your session has ended.", "Sign in again."),
    (e.Forbidden, "Your account may not do this.", "Ask an administrator for the role."),
    (e.Busy, "The service is busy.", "Try again in a moment."),
    (e.NoChampion, "There is no model yet.", "Train one first: the DAG train_model in Airflow, or `dsdc train`."),
    (e.NotFound, "That is not there any more.", ""),
    (e.Conflict, "That cannot be done with this document.", ""),
    (
        ServiceUnreachable,
        "A service of the platform does not answer.",
        "Try again; if it stays so, tell whoever runs it.",
    ),
)


def explain(error: e.DsdcError) -> str:
    """What happened, the service's own words where they say more, and what to do, as Markdown."""
    for kind, what, advice in _WORDS:
        if isinstance(error, kind):
            return " ".join(part for part in (f"**{what}**", _more(error), advice) if part)
    return f"**{error.message}** {error.hint or 'Try again; if it stays so, tell whoever runs the platform.'}"


def _more(error: e.DsdcError) -> str:
    if isinstance(error, e.TooManyAttempts):
        return f"Wait {error.retry_after_s} seconds."
    default = (type(error).__doc__ or "").strip()
    told = isinstance(error, e.DocumentError) and error.message != default
    return _literal(str(error)) if told else ""


def _literal(text: str) -> str:
    """Messages may quote a file's name, which must not become Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|<>$~:" else c for c in text)

"""E-mails: the body as pages, what is attached as files of their own."""

from dsdc.processors.mail.body import body_as_pdf, body_pdf
from dsdc.processors.mail.unpacker import MailUnpacker

__all__ = ["MailUnpacker", "body_as_pdf", "body_pdf"]

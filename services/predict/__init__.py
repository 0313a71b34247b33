"""Answers what class a document is of, and what the answer stands on."""

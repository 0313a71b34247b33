"""Queries as sentences. A repository holds a session and never commits."""

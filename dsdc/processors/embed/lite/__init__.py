"""`dsdc-lite`: an open_clip model put together from two packages and the numbers that lie here."""

"""`dsdc-lite`: an open_clip model put together from two packages and a projection that lies here."""

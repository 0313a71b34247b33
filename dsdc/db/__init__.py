"""The lineage store. The only room that knows SQLAlchemy."""

"""Pure, versioned pieces of work: bytes, pixels or text in; a result out. No database, no HTTP."""

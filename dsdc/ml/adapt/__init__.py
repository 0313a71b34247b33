"""Adapting a CLIP to an archive: contrastive training on its own page image/text pairs, without labels."""

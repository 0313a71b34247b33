"""What applies processors to documents: ingest, stages, workers, training, and answers."""

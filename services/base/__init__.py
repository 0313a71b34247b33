"""What the containers share: the image, the entrypoint, the health check, the first-run job."""

"""The platform's processes: which there are, their ports and health, and starting and stopping them all."""

"""The `dsdc` command."""

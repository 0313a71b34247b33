"""What runs: one package a service, started by supervisor or compose."""

"""Signs people and services in. The only process that holds private keys and sees passwords."""

"""Which images a person should label first."""

//! The whole plane from one seed, as a test: see `tests/it`, and CONTRIBUTING.md for how a seed is repeated.

//! Set-up, demo, tests, benchmarks: the commands of this repository.

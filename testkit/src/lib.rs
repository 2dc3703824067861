//! For tests only: simulated clock, simulated disk, seeded data, conformance paths, promqltest runner.

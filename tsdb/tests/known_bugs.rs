//! Data-loss and corruption bugs that Prometheus' storage had or has, each with
//! the number it has there: none is ours.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod db_support;
mod known_bugs {
    mod blocks;
    mod found;
    mod late;
    mod log;
    mod races;
    mod restart;
    mod stale;
}
mod life_support;

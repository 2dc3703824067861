//! The configuration file: types, defaults, validation, secrets that cannot print.

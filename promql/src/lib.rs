//! PromQL: text to syntax tree to checked tree to value.

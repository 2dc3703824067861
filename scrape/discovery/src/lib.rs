//! Service discovery: one file per mechanism.

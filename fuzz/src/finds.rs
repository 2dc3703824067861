//! Inputs that once were trouble: each runs with its target for ever.

/// The inputs of a target.
pub(crate) fn of(target: &str) -> Vec<Vec<u8>> {
    FINDS.iter().filter(|(name, _)| *name == target).map(|(_, bytes)| bytes.to_vec()).collect()
}

const FINDS: &[(&str, &[u8])] = &[("promql_eval", b"rate(m[sTep()+5m])"), ("promql_parse", b"inf^(m)")];

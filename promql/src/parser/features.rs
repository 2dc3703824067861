//! Which experimental parts of the language are switched on.

/// Switches of the language. A server has `duration_expr` on by default; the
/// others need `--enable-feature`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Features {
    /// Experimental functions and aggregators.
    pub experimental_functions: bool,
    /// Arithmetic in durations.
    pub duration_expr: bool,
    /// `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub binop_fill_modifiers: bool,
}

impl Default for Features {
    fn default() -> Features {
        Features { duration_expr: true, ..Features::none() }
    }
}

impl Features {
    /// Everything off.
    pub fn none() -> Features {
        Features {
            experimental_functions: false,
            duration_expr: false,
            extended_range_selectors: false,
            binop_fill_modifiers: false,
        }
    }

    /// Everything on.
    pub fn all() -> Features {
        Features {
            experimental_functions: true,
            duration_expr: true,
            extended_range_selectors: true,
            binop_fill_modifiers: true,
        }
    }
}

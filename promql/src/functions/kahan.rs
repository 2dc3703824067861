//! Compensated summation: Kahan's with Neumaier's improvement.

/// Adds `inc` to the running pair of sum and compensation.
/// Source: Prometheus `util/kahansum`: an infinite sum clears the compensation.
#[inline]
pub(crate) fn add(inc: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let total = sum + inc;
    // Chosen, not branched: loops over this then work on several sums at once.
    let (large, small) = if sum.abs() >= inc.abs() { (sum, inc) } else { (inc, sum) };
    let compensated = compensation + ((large - total) + small);
    (total, if total.is_infinite() { 0.0 } else { compensated })
}

/// A running sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) compensation: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, inc: f64) {
        (self.sum, self.compensation) = add(inc, self.sum, self.compensation);
    }

    pub(crate) fn value(self) -> f64 {
        self.sum + self.compensation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = Sum::default();
        for v in [1.0, 1e100, 1.0, -1e100] {
            sum.add(v);
        }
        assert_eq!(sum.value(), 2.0);
    }

    #[test]
    fn infinity_is_not_turned_into_nan() {
        let mut sum = Sum::default();
        sum.add(f64::INFINITY);
        sum.add(1.0);
        assert_eq!(sum.value(), f64::INFINITY);
    }
}

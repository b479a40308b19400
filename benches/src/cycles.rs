//! Cycles of short windows. The machine is shared, so what a window costs when nobody disturbed it is told by the 10th
//! percentile; what timers and evictions add is told by the mean.

/// What windows of so many transactions each have cost.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Cycles for one transaction, of each window.
    each: Vec<f64>,
    cycles: u64,
    transactions: u64,
}

/// Percentiles of windows. Units: cycles for one transaction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// Of ten windows one was shorter.
    pub p10: f64,
    /// The median.
    pub p50: f64,
    /// Of ten windows one was longer.
    pub p90: f64,
    /// All cycles by all transactions.
    pub mean: f64,
    /// Transactions.
    pub transactions: u64,
}

impl Windows {
    /// Note a window. One without transactions counts for the mean alone.
    pub fn note(&mut self, cycles: u64, transactions: u64) {
        self.cycles += cycles;
        self.transactions += transactions;
        if transactions > 0 {
            self.each.push(float(cycles) / float(transactions));
        }
    }

    /// What they tell; `None` before the first transaction.
    pub fn summary(&self) -> Option<Summary> {
        let mut each = self.each.clone();
        each.sort_by(f64::total_cmp);
        let at = |tenths: usize| each.get((each.len() * tenths / 10).min(each.len() - 1)).copied();
        Some(Summary {
            p10: (!each.is_empty()).then(|| at(1)).flatten()?,
            p50: at(5)?,
            p90: at(9)?,
            mean: float(self.cycles) / float(self.transactions),
            transactions: self.transactions,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure of three digits has no use for more than 52 bits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_windows_and_the_mean_of_everything() {
        // Shows both, with one long window among ten and one without a transaction.
        let mut windows = Windows::default();
        assert_eq!(windows.summary(), None);
        for cycles in [10, 20, 30, 40, 50, 60, 70, 80, 90, 1000] {
            windows.note(cycles * 2, 2);
        }
        windows.note(100, 0);
        let summary = windows.summary().unwrap();
        assert_eq!((summary.p10, summary.p50, summary.p90, summary.transactions), (20.0, 60.0, 1000.0, 20));
        assert!((summary.mean - 150.0).abs() < 1e-9, "{summary:?}");
    }
}

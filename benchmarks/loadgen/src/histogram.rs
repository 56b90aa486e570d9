//! A log-linear histogram of nanoseconds, as HdrHistogram's: 128 steps per power of two, so at most 0.8 % off.

const STEP_BITS: u32 = 7;
const STEPS: u64 = 1 << STEP_BITS;
const BUCKETS: usize = ((64 - STEP_BITS) as usize + 1) * STEPS as usize;

pub struct Histogram {
    counts: Vec<u64>,
    pub total: u64,
    pub max: u64,
    pub sum: u64,
}

fn index(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = 63 - value.leading_zeros() - STEP_BITS;
    ((shift as u64 + 1) * STEPS + ((value >> shift) - STEPS)) as usize
}

/// The largest value that falls into the bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let step = index % STEPS + STEPS;
    // The very last bucket ends at u64::MAX: shift the step up, then fill with ones.
    (step << shift) | ((1u64 << shift) - 1)
}

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0, sum: 0 }
    }

    pub fn record(&mut self, value: u64) {
        self.counts[index(value)] += 1;
        self.total += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// The smallest recorded step that holds at least `fraction` of the samples; 0 without samples.
    pub fn quantile(&self, fraction: f64) -> u64 {
        let wanted = ((fraction * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (position, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return upper(position).min(self.max);
            }
        }
        0
    }

    /// `(upper bound in ns, count)` of every bucket in use: histograms of several runs merge by adding these.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(position, count)| (upper(position), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_within_its_bucket_and_within_one_percent_of_its_bound() {
        let mut value = 1u64;
        while value < u64::MAX / 3 {
            let bound = upper(index(value));
            assert!(bound >= value, "{value} > {bound}");
            assert!((bound - value) as f64 <= value as f64 * 0.0079, "{value} is far from {bound}");
            assert!(index(bound) == index(value) && index(bound + 1) == index(value) + 1);
            value += value / 4 + 1;
        }
        assert_eq!(upper(index(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_of_one_to_a_hundred() {
        let mut histogram = Histogram::new();
        (1..=100).for_each(|value| histogram.record(value));
        assert_eq!((histogram.quantile(0.5), histogram.quantile(0.99), histogram.quantile(1.0)), (50, 99, 100));
        assert_eq!(Histogram::new().quantile(0.5), 0);
    }
}

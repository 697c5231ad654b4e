//! Metrics under the names of the services that are replaced, as Prometheus text.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

/// One metric without labels.
pub(crate) struct Metric<'a> {
    pub(crate) name: &'a str,
    pub(crate) help: &'a str,
    pub(crate) kind: Kind,
    pub(crate) value: f64,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Writes metrics as Prometheus text.
pub(crate) fn write(text: &mut String, metrics: &[Metric<'_>]) {
    for Metric { name, help, kind, value } in metrics {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
}

/// Writes a counter that is split by a label. The values are words of our own, so they need no
/// escaping.
pub(crate) fn write_split<'a>(
    text: &mut String,
    name: &str,
    help: &str,
    label: &str,
    parts: impl IntoIterator<Item = (&'a str, u64)>,
) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for (part, count) in parts {
        let _ = writeln!(text, "{name}{{{label}=\"{part}\"}} {count}");
    }
}

/// Observations, counted by size.
pub(crate) struct Histogram {
    /// The upper bounds, growing; one more bucket is without a bound.
    bounds: &'static [f64],
    buckets: Vec<AtomicU64>,
    /// In millionths.
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Takes `count` observations of the same size, which is not negative.
    pub(crate) fn observe(&self, size: f64, count: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < size);
        self.buckets[bucket].fetch_add(count, Ordering::Relaxed);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "sizes are small, and sums are rounded"
        )]
        let millionths = (size * 1e6 * count as f64) as u64;
        self.sum.fetch_add(millionths, Ordering::Relaxed);
    }

    /// Writes it; `labels` such as `model="topic"`, or nothing. The help stands before the first.
    pub(crate) fn write(&self, text: &mut String, name: &str, labels: &str) {
        let separator = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}");
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum is rounded")]
        let sum = self.sum.load(Ordering::Relaxed) as f64 / 1e6;
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(text, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}");
    }
}

/// Writes what stands before a histogram.
pub(crate) fn write_histogram_help(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let histogram = Histogram::new(&[0.1, 0.5]);
        for (size, count) in [(0.1, 2), (0.2, 1), (7.0, 3)] {
            histogram.observe(size, count);
        }
        let mut text = String::new();
        histogram.write(&mut text, "h", "model=\"topic\"");
        let expected = "h_bucket{model=\"topic\",le=\"0.1\"} 2\n\
                        h_bucket{model=\"topic\",le=\"0.5\"} 3\n\
                        h_bucket{model=\"topic\",le=\"+Inf\"} 6\n\
                        h_sum{model=\"topic\"} 21.4\nh_count{model=\"topic\"} 6\n";
        assert_eq!(text, expected);
    }
}

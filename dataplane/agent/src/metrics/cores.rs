//! Where workers' time goes.

use prometheus::Result;
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use worker::telemetry::BURST_SIZES;
use worker::{HistogramSnapshot, Stage};

use super::{Page, seconds};
use crate::WorkerView;

/// Residence is told in buckets from 2^8 to 2^26 ns: 256 ns to 67 ms, and the rest.
const RESIDENCE_BITS: std::ops::RangeInclusive<u32> = 8..=26;

/// Time by stage and by rx queue.
pub(super) fn times(page: &Page, workers: &[(String, WorkerView)], rate: u64) -> Result<()> {
    let to_seconds = |ticks: u64| ticks as f64 / rate.max(1) as f64;
    let stages = page.seconds(
        "sluice_worker_stage_seconds_total",
        "Time in each stage of the rounds that were timed, about one in 128; per packet by sluice_worker_stage_packets_total.",
        &["cpu", "stage"],
    )?;
    let sampled = page.counter(
        "sluice_worker_stage_packets_total",
        "Packets of the rounds that were timed.",
        &["cpu"],
    )?;
    let queue_seconds = page.seconds(
        "sluice_rxq_seconds_total",
        "Time that an rx queue's packets took in the rounds that were timed, on each worker that has polled it.",
        &["port", "rxq"],
    )?;
    let queue_packets = page.counter(
        "sluice_rxq_packets_total",
        "Packets that came in by an rx queue.",
        &["port", "rxq"],
    )?;
    let queue_cpu = page.gauge(
        "sluice_rxq_worker",
        "1 for the worker that polls the rx queue.",
        &["port", "rxq", "cpu"],
    )?;
    for (cpu, worker) in workers {
        let telemetry = &worker.telemetry;
        for (stage, ticks) in Stage::ALL.iter().zip(&telemetry.stages) {
            let labels = [cpu.as_str(), stage.name()];
            stages.with_label_values(&labels).inc_by(to_seconds(*ticks));
        }
        sampled
            .with_label_values(&[cpu])
            .inc_by(telemetry.sampled_packets);
        for queue in &worker.queues {
            let number = queue.queue.to_string();
            let labels = [queue.port.as_str(), number.as_str()];
            let spent = to_seconds(queue.ticks);
            queue_seconds.with_label_values(&labels).inc_by(spent);
            queue_packets
                .with_label_values(&labels)
                .inc_by(queue.packets);
            let labels = [queue.port.as_str(), number.as_str(), cpu.as_str()];
            queue_cpu.with_label_values(&labels).set(1);
        }
    }
    Ok(())
}

/// Histograms, which workers count themselves.
pub(super) fn histograms(workers: &[(String, WorkerView)]) -> Vec<MetricFamily> {
    let residence = workers
        .iter()
        .map(|(cpu, worker)| metric(cpu, residence(&worker.telemetry.residence)));
    let bursts = workers.iter().map(|(cpu, worker)| {
        let telemetry = &worker.telemetry;
        metric(cpu, bursts(&telemetry.bursts, telemetry.burst_packets))
    });
    vec![
        family(
            "sluice_residence_seconds",
            "From a port's reception to the call that sends, of sampled packets.",
            residence.collect(),
        ),
        family(
            "sluice_worker_burst_packets",
            "Packets in a burst that a worker took from a port, in the rounds that were timed.",
            bursts.collect(),
        ),
    ]
}

fn residence(times: &HistogramSnapshot) -> Histogram {
    let bounds = RESIDENCE_BITS.map(|bits| (seconds(1 << bits), times.shorter_than(bits)));
    histogram(bounds, times.count(), seconds(times.sum()))
}

fn bursts(counts: &[u64], packets: u64) -> Histogram {
    let mut sum = 0;
    let bounds: Vec<(f64, u64)> = BURST_SIZES
        .iter()
        .zip(counts)
        .map(|(size, count)| {
            sum += count;
            (f64::from(*size), sum)
        })
        .collect();
    histogram(bounds, sum, packets as f64)
}

/// Of upper bounds with the counts up to them.
fn histogram(bounds: impl IntoIterator<Item = (f64, u64)>, count: u64, sum: f64) -> Histogram {
    let bucket = |(upper, count): (f64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(upper);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(bounds.into_iter().map(bucket).collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram
}

fn metric(cpu: &str, histogram: Histogram) -> Metric {
    let mut label = LabelPair::default();
    label.set_name("cpu".into());
    label.set_value(cpu.into());
    let mut metric = Metric::default();
    metric.set_label(vec![label]);
    metric.set_histogram(histogram);
    metric
}

fn family(name: &str, help: &str, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_to_the_count() {
        let times = worker::Histogram::default();
        for nanos in [100, 300, 1_000, 40_000, 3_000_000_000] {
            times.record(nanos);
        }
        let shown = residence(&times.snapshot());
        let counts: Vec<u64> = shown
            .get_bucket()
            .iter()
            .map(Bucket::cumulative_count)
            .collect();
        assert!(counts.is_sorted());
        assert_eq!((counts[0], counts[1], counts[2]), (1, 2, 3));
        // What is beyond the last bound is only in the count.
        assert_eq!((counts.last(), shown.get_sample_count()), (Some(&4), 5));
        let shown = bursts(&[1, 2, 0, 0, 0, 3], 100);
        let last = shown.get_bucket().last().unwrap();
        assert_eq!((last.upper_bound(), last.cumulative_count()), (32.0, 6));
        assert_eq!(shown.get_sample_sum(), 100.0);
    }
}

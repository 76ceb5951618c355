//! What the worker counts, and its text in Prometheus' format.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::gauge::{Gauge, Reading};

/// Over how long the tokens a second are taken.
const RATE_WINDOW: Duration = Duration::from_secs(30);

/// Every number that the worker shows. Counters begin at zero with the process, except those of the journal.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Leases taken.
    pub claimed: AtomicU64,
    /// Results accepted.
    pub delivered: AtomicU64,
    /// Leases given back.
    pub declined: AtomicU64,
    /// Leases that ended without a result: lapsed, cancelled, or the result came too late.
    pub lost: AtomicU64,
    /// Prompt tokens of accepted results.
    pub prompt_tokens: AtomicU64,
    /// Output tokens of accepted results.
    pub output_tokens: AtomicU64,
    /// Tokens made, whatever became of them.
    pub generated_tokens: AtomicU64,
    /// Times that an engine had to be started again.
    pub engine_failures: AtomicU64,
    /// Calls to the network that failed.
    pub call_failures: AtomicU64,
    /// Jobs that are being worked on.
    pub in_flight: AtomicU64,
    /// Jobs that this node can work on at a time.
    pub slots: AtomicU64,
    /// Jobs of our models that wait in the escrow.
    pub queue: AtomicU64,
    /// Results that the escrow has not accepted yet.
    pub owed: AtomicU64,
    /// When the escrow last told what work there is; milliseconds since 1970.
    pub last_poll_ms: AtomicU64,
    /// What the owner has available in the escrow, in e8s; beyond 64 bits it stays at the most.
    pub balance_e8s: AtomicU64,
    /// What the owner was paid since the journal began, in e8s.
    pub earned_e8s: AtomicU64,
    /// Jobs done since the journal began.
    pub ever_delivered: AtomicU64,
    /// Accepted results whose jobs are not final: drawn, audited and paid later.
    pub awaited: AtomicU64,
    /// Answers of other nodes that were checked.
    pub audits_computed: AtomicU64,
    /// Audits that this node could not do: other files, a longer context, an unknown kind.
    pub audits_failed: AtomicU64,
    /// Microseconds that the checks took, all together.
    pub audit_micros: AtomicU64,
    /// Votes that were committed to.
    pub votes_committed: AtomicU64,
    /// Votes that were revealed.
    pub votes_revealed: AtomicU64,
    /// Seats in audits that ended without a revealed vote of this node.
    pub votes_missed: AtomicU64,
    /// Votes that wait to be revealed.
    pub votes_sealed: AtomicU64,
    /// True while new jobs or audits are taken.
    pub taking_work: AtomicBool,
    recent: Mutex<VecDeque<(Instant, u64)>>,
    /// The engines for text, by the names of their models.
    engines: Mutex<BTreeMap<String, Arc<Gauge>>>,
}

impl Metrics {
    /// Counts tokens that were made in a step.
    pub fn generated(&self, tokens: u64) {
        if tokens == 0 {
            return;
        }
        self.generated_tokens.fetch_add(tokens, Relaxed);
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        match recent.back_mut() {
            Some((time, sum)) if now.duration_since(*time) < Duration::from_millis(250) => {
                *sum += tokens;
            }
            _ => recent.push_back((now, tokens)),
        }
        forget(&mut recent, now);
    }

    /// Shows an engine from now on.
    pub fn show_engine(&self, model: &str, gauge: Arc<Gauge>) {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.insert(model.to_owned(), gauge);
    }

    /// How the engines for text do, by the names of their models.
    pub fn engines(&self) -> Vec<(String, Reading)> {
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        let read = engines
            .iter()
            .map(|(model, gauge)| (model.clone(), gauge.read()));
        read.collect()
    }

    /// Counts an engine that failed as a whole.
    pub fn engine_failed(&self) {
        self.engine_failures.fetch_add(1, Relaxed);
    }

    /// Notes that the escrow has just told what work there is.
    pub fn polled(&self, waiting: u64) {
        self.queue.store(waiting, Relaxed);
        self.heard();
    }

    /// Notes that the escrow has just answered.
    pub fn heard(&self) {
        self.last_poll_ms.store(now_ms(), Relaxed);
    }

    /// Counts an answer that was checked.
    pub fn audited(&self, took: Duration) {
        self.audits_computed.fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.audit_micros.fetch_add(micros, Relaxed);
    }

    /// How long ago the escrow last told; `None` if it never did.
    pub fn since_poll(&self) -> Option<Duration> {
        match self.last_poll_ms.load(Relaxed) {
            0 => None,
            then => Some(Duration::from_millis(now_ms().saturating_sub(then))),
        }
    }

    /// Tokens a second over the last half minute, or over the time since the first of them.
    pub fn tokens_per_second(&self) -> f64 {
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut recent, now);
        let Some(&(first, _)) = recent.front() else {
            return 0.0;
        };
        let sum: u64 = recent.iter().map(|(_, tokens)| tokens).sum();
        sum as f64 / now.duration_since(first).as_secs_f64().max(1.0)
    }

    /// All of it, in Prometheus' text format.
    pub fn render(&self) -> String {
        let counters = [
            ("jobs_claimed", "Leases taken.", &self.claimed),
            ("jobs_delivered", "Results accepted.", &self.delivered),
            ("jobs_declined", "Leases given back.", &self.declined),
            (
                "jobs_lapsed",
                "Leases that ended without a result.",
                &self.lost,
            ),
            (
                "prompt_tokens",
                "Prompt tokens of accepted results.",
                &self.prompt_tokens,
            ),
            (
                "output_tokens",
                "Output tokens of accepted results.",
                &self.output_tokens,
            ),
            (
                "generated_tokens",
                "Tokens made, whatever became of them.",
                &self.generated_tokens,
            ),
            (
                "engine_failures",
                "Engines that had to be started again.",
                &self.engine_failures,
            ),
            (
                "call_failures",
                "Calls to the network that failed.",
                &self.call_failures,
            ),
            (
                "earned_e8s",
                "Paid to the owner for final jobs since the journal began, in e8s.",
                &self.earned_e8s,
            ),
            (
                "ever_delivered",
                "Results accepted since the journal began.",
                &self.ever_delivered,
            ),
            (
                "audits_computed",
                "Answers of other nodes that were checked.",
                &self.audits_computed,
            ),
            (
                "audits_failed",
                "Audits that this node could not do.",
                &self.audits_failed,
            ),
            (
                "votes_committed",
                "Votes that were committed to.",
                &self.votes_committed,
            ),
            (
                "votes_revealed",
                "Votes that were revealed.",
                &self.votes_revealed,
            ),
            (
                "votes_missed",
                "Seats in audits that ended without a revealed vote.",
                &self.votes_missed,
            ),
        ];
        let gauges = [
            (
                "jobs_in_flight",
                "Jobs that are being worked on.",
                &self.in_flight,
            ),
            (
                "slots",
                "Jobs that can be worked on at a time.",
                &self.slots,
            ),
            (
                "queue",
                "Jobs of our models that wait in the escrow.",
                &self.queue,
            ),
            (
                "owed_deliveries",
                "Results that the escrow has not accepted yet.",
                &self.owed,
            ),
            (
                "awaited_results",
                "Accepted results whose jobs are not final.",
                &self.awaited,
            ),
            (
                "sealed_votes",
                "Votes that wait to be revealed.",
                &self.votes_sealed,
            ),
            (
                "escrow_balance_e8s",
                "What the owner has available in the escrow, in e8s.",
                &self.balance_e8s,
            ),
        ];
        let mut out = String::new();
        for (name, help, value) in counters {
            line(
                &mut out,
                &format!("{name}_total"),
                "counter",
                help,
                value.load(Relaxed),
            );
        }
        for (name, help, value) in gauges {
            line(&mut out, name, "gauge", help, value.load(Relaxed));
        }
        let seconds = self.audit_micros.load(Relaxed) as f64 / 1e6;
        line(
            &mut out,
            "audit_seconds_total",
            "counter",
            "Seconds that the checks took, all together.",
            format!("{seconds:.6}"),
        );
        line(
            &mut out,
            "tokens_per_second",
            "gauge",
            "Tokens made a second, lately.",
            format!("{:.2}", self.tokens_per_second()),
        );
        let poll = self.last_poll_ms.load(Relaxed) as f64 / 1000.0;
        line(
            &mut out,
            "last_poll_timestamp_seconds",
            "gauge",
            "When the escrow last told what work there is.",
            format!("{poll:.3}"),
        );
        let taking = u8::from(self.taking_work.load(Relaxed));
        line(
            &mut out,
            "taking_work",
            "gauge",
            "1 while new jobs or audits are taken.",
            taking,
        );
        self.render_engines(&mut out);
        out
    }

    /// Metric by metric, in each a line for every engine: so the format wants it.
    fn render_engines(&self, out: &mut String) {
        let engines = self.engines();
        if engines.is_empty() {
            return;
        }
        for (name, kind, help, value) in ENGINE_LINES {
            head(out, name, kind, help);
            for (model, reading) in &engines {
                let value = value(reading);
                let _ = writeln!(out, "emc_worker_{name}{{model=\"{model}\"}} {value}");
            }
        }
    }
}

/// A line for an engine: name, type, help, value.
type EngineLine = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Reading) -> f64,
);

/// What is shown of an engine. Seconds and tokens are counted together: their quotient over any time is a speed.
const ENGINE_LINES: [EngineLine; 16] = [
    (
        "engine_ready",
        "gauge",
        "0 while the engine is being started again.",
        |r| f64::from(u8::from(r.is_ready)),
    ),
    (
        "engine_sequences",
        "gauge",
        "Jobs that the engine has in flight.",
        |r| r.figures.in_flight as f64,
    ),
    (
        "engine_batch_size",
        "gauge",
        "Jobs that its last step took further.",
        |r| r.figures.batch as f64,
    ),
    (
        "engine_queue_length",
        "gauge",
        "Jobs and checks that wait for room in it.",
        |r| r.waiting as f64,
    ),
    (
        "engine_prefill_tokens_per_second",
        "gauge",
        "Speed of reading prompts, lately.",
        |r| rounded(r.prefill_per_second),
    ),
    (
        "engine_decode_tokens_per_second",
        "gauge",
        "Speed of all answers together, lately.",
        |r| rounded(r.decode_per_second),
    ),
    (
        "engine_cache_pages",
        "gauge",
        "Pages for keys and values.",
        |r| r.figures.cache_pages as f64,
    ),
    (
        "engine_cache_pages_used",
        "gauge",
        "Pages that jobs in flight use.",
        |r| r.figures.cache_pages_used as f64,
    ),
    ("engine_steps_total", "counter", "Steps.", |r| {
        r.figures.steps as f64
    }),
    (
        "engine_prefill_tokens_total",
        "counter",
        "Tokens of prompts that were read.",
        |r| r.figures.read_tokens as f64,
    ),
    (
        "engine_prefill_seconds_total",
        "counter",
        "Seconds of the steps that read some.",
        |r| r.figures.read_time.as_secs_f64(),
    ),
    (
        "engine_decode_tokens_total",
        "counter",
        "Tokens made in steps that read nothing.",
        |r| r.figures.decoded_tokens as f64,
    ),
    (
        "engine_decode_seconds_total",
        "counter",
        "Seconds of those steps.",
        |r| r.figures.decode_time.as_secs_f64(),
    ),
    (
        "engine_prefix_hits_total",
        "counter",
        "Jobs whose prompts began as ones before.",
        |r| r.figures.prefix_hits as f64,
    ),
    (
        "engine_prefix_tokens_total",
        "counter",
        "Tokens that were not read for that.",
        |r| r.figures.known_tokens as f64,
    ),
    (
        "engine_evictions_total",
        "counter",
        "Jobs that gave way where the pages were full.",
        |r| r.figures.evictions as f64,
    ),
];

fn rounded(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

fn line(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, kind, help);
    let _ = writeln!(out, "emc_worker_{name} {value}");
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "# HELP emc_worker_{name} {help}\n# TYPE emc_worker_{name} {kind}"
    );
}

fn forget(recent: &mut VecDeque<(Instant, u64)>, now: Instant) {
    while recent
        .front()
        .is_some_and(|(time, _)| now.duration_since(*time) > RATE_WINDOW)
    {
        recent.pop_front();
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use emc_inference::EngineFigures;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        assert!(metrics.since_poll().is_none());
        metrics.generated(5);
        metrics.generated(7);
        metrics.polled(3);
        metrics.audited(Duration::from_millis(1_500));
        metrics.delivered.store(2, Relaxed);
        assert!(!metrics.render().contains("engine_batch_size"));
        let gauge = Arc::new(Gauge::default());
        metrics.show_engine("m:1", gauge.clone());
        metrics.show_engine("n:1", Arc::default());
        let mut figures = EngineFigures::default();
        gauge.tell(figures, 0);
        (figures.in_flight, figures.batch, figures.steps) = (3, 2, 9);
        (figures.read_tokens, figures.read_time) = (600, Duration::from_millis(500));
        (figures.decoded_tokens, figures.decode_time) = (40, Duration::from_millis(160));
        (figures.cache_pages, figures.cache_pages_used) = (64, 7);
        (figures.prefix_hits, figures.known_tokens) = (1, 32);
        gauge.tell(figures, 4);
        let text = metrics.render();
        for line in [
            "emc_worker_generated_tokens_total 12",
            "emc_worker_queue 3",
            "emc_worker_jobs_delivered_total 2",
            "emc_worker_tokens_per_second 12.00",
            "emc_worker_taking_work 0",
            "emc_worker_audits_computed_total 1",
            "emc_worker_audit_seconds_total 1.500000",
            "# TYPE emc_worker_jobs_in_flight gauge",
            "# TYPE emc_worker_engine_steps_total counter",
            "emc_worker_engine_ready{model=\"m:1\"} 1",
            "emc_worker_engine_ready{model=\"n:1\"} 0",
            "emc_worker_engine_sequences{model=\"m:1\"} 3",
            "emc_worker_engine_batch_size{model=\"m:1\"} 2",
            "emc_worker_engine_queue_length{model=\"m:1\"} 4",
            "emc_worker_engine_prefill_tokens_per_second{model=\"m:1\"} 1200",
            "emc_worker_engine_decode_tokens_per_second{model=\"m:1\"} 250",
            "emc_worker_engine_cache_pages{model=\"m:1\"} 64",
            "emc_worker_engine_cache_pages_used{model=\"m:1\"} 7",
            "emc_worker_engine_steps_total{model=\"m:1\"} 9",
            "emc_worker_engine_prefill_seconds_total{model=\"m:1\"} 0.5",
            "emc_worker_engine_decode_tokens_total{model=\"m:1\"} 40",
            "emc_worker_engine_prefix_hits_total{model=\"m:1\"} 1",
            "emc_worker_engine_prefix_tokens_total{model=\"m:1\"} 32",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(metrics.since_poll().is_some_and(|time| time.as_secs() < 5));
    }
}

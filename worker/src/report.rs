//! The line that the log gets now and then: how each engine does. Silent while there is nothing to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::engine::gauge::Reading;
use crate::metrics::Metrics;

/// The time between two lines.
const EVERY: Duration = Duration::from_secs(60);

/// Reports until it is aborted.
pub async fn report(metrics: Arc<Metrics>) {
    let mut steps = BTreeMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        for (model, reading) in metrics.engines() {
            let now = reading.figures.steps;
            if steps.insert(model.clone(), now).unwrap_or(0) != now {
                let claimed = metrics.claimed.load(Relaxed);
                tracing::info!(%model, claimed, "{}", in_words(&reading));
            }
        }
    }
}

/// How an engine does, to be read by people.
pub fn in_words(reading: &Reading) -> String {
    let Reading {
        is_ready,
        waiting,
        figures,
        prefill_per_second,
        decode_per_second,
    } = reading;
    if !is_ready {
        return "being started again".into();
    }
    let mut words = format!(
        "makes {decode_per_second:.1} tokens/s, reads {prefill_per_second:.0}/s, batch {}, {waiting} waiting",
        figures.batch
    );
    // An engine without a cache has no pages.
    if figures.cache_pages > 0 {
        words += &format!(
            ", cache {} of {} pages, {} prompts known from before",
            figures.cache_pages_used, figures.cache_pages, figures.prefix_hits
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_described_in_a_line() {
        let mut reading = Reading {
            is_ready: true,
            waiting: 2,
            decode_per_second: 85.25,
            prefill_per_second: 1300.4,
            ..Reading::default()
        };
        reading.figures.batch = 3;
        let plain = "makes 85.2 tokens/s, reads 1300/s, batch 3, 2 waiting";
        assert_eq!(in_words(&reading), plain);
        (
            reading.figures.cache_pages,
            reading.figures.cache_pages_used,
        ) = (512, 12);
        reading.figures.prefix_hits = 4;
        let cache = ", cache 12 of 512 pages, 4 prompts known from before";
        assert_eq!(in_words(&reading), format!("{plain}{cache}"));
        reading.is_ready = false;
        assert_eq!(in_words(&reading), "being started again");
    }
}

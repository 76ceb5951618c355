//! How fast a loaded model computes, and how much memory the process took at most.

use std::time::Instant;

use crate::decoder::{PAGE, Part};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sampler::Choice;

/// Tokens per second of one sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Computing a prompt, in one block.
    pub prefill: f64,
    /// Computing an answer, token by token: the median token.
    pub decode: f64,
    /// The same, of the fastest token: what an idle machine would do, on one that is not.
    pub decode_best: f64,
    /// Tokens of the answer a second, all of them together.
    pub decode_mean: f64,
}

/// Measures with a prompt of `prompt` tokens and an answer of `answer` tokens; the best of `repeats` runs, since
/// whatever else runs on the machine only slows it down.
pub fn measure(model: &Model, prompt: usize, answer: usize, repeats: usize) -> Result<Speed> {
    let info = model.info();
    if prompt == 0 || answer == 0 || prompt + answer > info.context {
        return Err(Error::BadParameter(format!(
            "a run of {prompt} + {answer} tokens does not fit the model"
        )));
    }
    // Any ids do: the work does not depend on them.
    let ids: Vec<u32> = (0..prompt)
        .map(|index| (index * 7919 % info.vocabulary) as u32)
        .collect();
    let mut best = Speed {
        prefill: 0.0,
        decode: 0.0,
        decode_best: 0.0,
        decode_mean: 0.0,
    };
    for _ in 0..repeats.max(1) {
        let mut reading = model.reading(prompt + answer, prompt + answer)?;
        let begin = Instant::now();
        let mut logits = model.read(&mut reading, &ids)?;
        best.prefill = best
            .prefill
            .max(prompt as f64 / begin.elapsed().as_secs_f64());
        let mut times = Vec::with_capacity(answer);
        for position in 0..answer {
            let begin = Instant::now();
            let id = Choice::GREEDY.choose(&logits, position as u32)?;
            logits = model.read(&mut reading, &[id])?;
            times.push(begin.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        best.decode = best.decode.max(1.0 / times[answer / 2]);
        best.decode_best = best.decode_best.max(1.0 / times[0]);
        let total: f64 = times.iter().sum();
        best.decode_mean = best.decode_mean.max(answer as f64 / total);
    }
    Ok(best)
}

/// Tokens a second of several answers that are made together, each after a prompt of its own; the best of `repeats` runs.
pub fn measure_together(
    model: &Model,
    sequences: usize,
    prompt: usize,
    answer: usize,
    repeats: usize,
) -> Result<f64> {
    let info = model.info();
    if sequences == 0 || prompt == 0 || answer == 0 || prompt + answer > info.context {
        return Err(Error::BadParameter(format!(
            "{sequences} runs of {prompt} + {answer} tokens do not fit the model"
        )));
    }
    let mut best = 0f64;
    for _ in 0..repeats.max(1) {
        let mut pool = model.decoder.pool(sequences * (prompt + answer + PAGE))?;
        let mut caches = Vec::new();
        for sequence in 0..sequences {
            let id = |index: usize| ((index + sequence * 31) * 7919 % info.vocabulary) as u32;
            let ids: Vec<u32> = (0..prompt).map(id).collect();
            let mut cache = pool.begin(&[], false);
            pool.reserve(&mut cache, prompt + answer);
            model.logits_of(
                &mut [Part {
                    ids: &ids,
                    cache: &mut cache,
                }],
                &[true],
                &mut pool,
            )?;
            caches.push(cache);
        }
        let begin = Instant::now();
        let mut last = vec![1u32; sequences];
        for position in 0..answer {
            let parts = caches.iter_mut().zip(&last);
            let parts = parts.map(|(cache, id)| Part {
                ids: std::slice::from_ref(id),
                cache,
            });
            let mut parts: Vec<Part<'_>> = parts.collect();
            let logits = model.logits_of(&mut parts, &vec![true; sequences], &mut pool)?;
            for (id, logits) in last.iter_mut().zip(logits.chunks_exact(info.vocabulary)) {
                *id = Choice::GREEDY.choose(logits, position as u32)?;
            }
        }
        best = best.max((sequences * answer) as f64 / begin.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// The most memory that this process has held so far, in bytes; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_gives_speeds_and_refuses_what_does_not_fit() {
        let model = crate::model::tests::load(crate::test_model::gguf()).expect("loads");
        let speed = measure(&model, 8, 8, 2).expect("measures");
        assert!(speed.prefill > 0.0 && speed.decode > 0.0);
        assert!(measure(&model, 60, 8, 1).is_err());
        assert!(measure_together(&model, 3, 8, 8, 2).expect("measures") > 0.0);
        assert!(measure_together(&model, 3, 60, 8, 1).is_err());
        assert!(peak_memory().expect("Linux tells") > 1 << 20);
    }
}

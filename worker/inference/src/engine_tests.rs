//! Engines on a tiny model.

use super::*;
use crate::model::tests::load;
use crate::sequence::FinishReason;
use crate::test_model;

fn model() -> Model {
    load(test_model::gguf()).expect("the test model loads")
}

fn sampled(seed: u64, max_tokens: u32) -> SamplingParams {
    SamplingParams {
        temperature: 1.5,
        seed,
        max_tokens,
        ..SamplingParams::default()
    }
}

/// Steps until nothing is in flight; the answers by sequence.
fn run(engine: &mut Engine) -> BTreeMap<SequenceId, Answer> {
    let mut answers = BTreeMap::new();
    let mut texts: BTreeMap<SequenceId, String> = BTreeMap::new();
    while engine.in_flight() > 0 {
        for event in engine.step() {
            match event {
                Event::Token { sequence, text, .. } => *texts.entry(sequence).or_default() += &text,
                Event::Finished { sequence, answer } => {
                    assert_eq!(texts[&sequence], answer.text);
                    assert_eq!(engine.model().decode(&answer.ids), answer.text);
                    answers.insert(sequence, answer);
                }
                Event::Failed { error, .. } => panic!("{error}"),
            }
        }
    }
    answers
}

#[test]
fn sequences_get_the_same_tokens_together_as_alone() {
    let model = model();
    let prompts: Vec<Vec<u32>> = vec![vec![5], vec![9, 3, 40, 7], (1..20).collect()];
    let alone: Vec<Vec<u32>> = prompts
        .iter()
        .zip(0..)
        .map(|(prompt, seed)| {
            model
                .generate(prompt.clone(), sampled(seed, 15), |_, _| {})
                .expect("runs")
                .ids
        })
        .collect();
    let mut engine = Engine::new(model, EngineOptions::default()).expect("memory");
    let starts = prompts.into_iter().zip(0..);
    let ids: Vec<_> = starts
        .map(|(p, seed)| engine.start(p, sampled(seed, 15)).expect("starts"))
        .collect();
    let answers = run(&mut engine);
    let together: Vec<_> = ids.iter().map(|id| answers[id].ids.clone()).collect();
    assert_eq!(alone, together);
    assert_ne!(alone[0], alone[1]);
}

#[test]
fn a_prompt_in_blocks_gives_the_tokens_of_a_prompt_in_one() {
    let whole = model()
        .generate((1..40).collect(), SamplingParams::default(), |_, _| {})
        .expect("runs");
    for prompt_block in [1, 7, 38] {
        let mut engine = Engine::new(
            model(),
            EngineOptions {
                prompt_block,
                ..EngineOptions::default()
            },
        )
        .expect("memory");
        let id = engine
            .start((1..40).collect(), SamplingParams::default())
            .expect("starts");
        assert_eq!(
            run(&mut engine)[&id].ids,
            whole.ids,
            "blocks of {prompt_block}"
        );
    }
}

#[test]
fn an_answer_ends_at_its_limit_or_with_the_context() {
    let answer = model()
        .generate(vec![1, 2], sampled(1, 3), |_, _| {})
        .expect("runs");
    assert_eq!(
        (answer.reason, answer.usage.output_tokens),
        (FinishReason::Length, 3)
    );
    let prompt: Vec<u32> = (1..61).collect();
    let answer = model()
        .generate(prompt, sampled(1, 1000), |_, _| {})
        .expect("runs");
    assert_eq!(
        answer.usage,
        crate::sequence::Usage {
            prompt_tokens: 60,
            output_tokens: 4
        }
    );
}

#[test]
fn an_answer_ends_with_the_stop_token_which_has_no_text() {
    let model = model();
    let ends = (0..400).map(|seed| {
        model
            .generate(vec![9], sampled(seed, 50), |_, _| {})
            .expect("runs")
    });
    let answer = ends
        .into_iter()
        .find(|answer| answer.reason == FinishReason::Stop)
        .expect("one of 400 ends");
    assert_eq!(
        answer.ids.iter().position(|&id| id == 0),
        Some(answer.ids.len() - 1)
    );
    assert!(!answer.text.contains("<end>"));
}

#[test]
fn an_answer_ends_with_the_token_that_completes_a_stop_string() {
    let model = model();
    let whole = model
        .generate(vec![9, 4], sampled(3, 30), |_, _| {})
        .expect("runs");
    let middle: String = whole.text.chars().skip(4).take(3).collect();
    assert_eq!(
        middle.chars().count(),
        3,
        "the answer is too short for this test: {:?}",
        whole.text
    );
    let params = SamplingParams {
        stop: vec!["never there".into(), middle.clone()],
        ..sampled(3, 30)
    };
    let cut = model.generate(vec![9, 4], params, |_, _| {}).expect("runs");
    assert_eq!(cut.reason, FinishReason::StopString);
    assert!(
        cut.text.contains(&middle)
            && whole.text.starts_with(&cut.text)
            && cut.text.len() < whole.text.len()
    );
}

#[test]
fn requests_that_cannot_be_run_are_refused_with_the_reason() {
    let mut engine = Engine::new(
        model(),
        EngineOptions {
            cache_bytes: 128 * 32,
            ..EngineOptions::default()
        },
    )
    .expect("memory");
    let start =
        |engine: &mut Engine, prompt, params| engine.start(prompt, params).expect_err("refused");
    assert!(matches!(
        start(&mut engine, vec![], sampled(0, 1)),
        Error::EmptyPrompt
    ));
    assert!(matches!(
        start(&mut engine, vec![1; 64], sampled(0, 1)),
        Error::PromptTooLong {
            prompt: 64,
            context: 64
        }
    ));
    assert!(matches!(
        start(&mut engine, vec![259], sampled(0, 1)),
        Error::BadParameter(_)
    ));
    assert!(matches!(
        start(&mut engine, vec![1], sampled(0, 0)),
        Error::BadParameter(_)
    ));
    assert!(matches!(
        start(&mut engine, vec![1], sampled(0, 32)),
        Error::TooLarge { .. }
    ));
    let empty_stop = SamplingParams {
        stop: vec![String::new()],
        ..sampled(0, 5)
    };
    assert!(matches!(
        start(&mut engine, vec![1], empty_stop),
        Error::BadParameter(_)
    ));
    assert_eq!(engine.in_flight(), 0);
}

#[test]
fn a_full_engine_says_so_and_has_room_again_after_a_cancel() {
    let options = EngineOptions {
        max_sequences: 3,
        cache_bytes: 128 * 16 * 6,
        prompt_block: 512,
    };
    let mut engine = Engine::new(model(), options).expect("memory");
    let first = engine.start(vec![1], sampled(0, 9)).expect("room for one");
    engine
        .start(vec![1; 17], sampled(0, 7))
        .expect("room for two");
    // Six pages: two are for the first, three for the second.
    let more = engine.start(vec![1], sampled(0, 1));
    assert!(matches!(more, Err(Error::Busy(_))), "{more:?}");
    assert!(engine.cancel(first) && !engine.cancel(first));
    engine.start(vec![1], sampled(0, 9)).expect("room again");
    assert_eq!(run(&mut engine).len(), 2);
    for _ in 0..3 {
        engine
            .start(vec![1], sampled(0, 50))
            .expect("room for three");
    }
    let more = engine.start(vec![1], sampled(0, 1));
    assert!(matches!(more, Err(Error::Busy(_))), "{more:?}");
}

#[test]
fn sequences_that_outgrow_the_pool_wait_and_get_the_same_tokens() {
    let prompts: Vec<Vec<u32>> = (0..5u32)
        .map(|n| (n * 3 + 1..n * 3 + 9).collect())
        .collect();
    let alone: Vec<Vec<u32>> = prompts
        .iter()
        .zip(0..)
        .map(|(prompt, seed)| {
            let answer = model().generate(prompt.clone(), sampled(seed, 50), |_, _| {});
            answer.expect("runs").ids
        })
        .collect();
    assert!(
        alone.iter().filter(|ids| ids.len() > 30).count() > 2,
        "{alone:?}"
    );
    let options = EngineOptions {
        cache_bytes: 128 * 16 * 10,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(model(), options).expect("memory");
    let starts = prompts.into_iter().zip(0..);
    let ids: Vec<_> = starts
        .map(|(prompt, seed)| engine.start(prompt, sampled(seed, 50)).expect("starts"))
        .collect();
    let mut waited = false;
    let mut answers = BTreeMap::new();
    while engine.in_flight() > 0 {
        let before = engine.in_flight();
        let events = engine.step();
        let told = events
            .iter()
            .filter(|event| matches!(event, Event::Token { .. }))
            .count();
        waited |= told < before;
        for event in events {
            match event {
                Event::Finished { sequence, answer } => drop(answers.insert(sequence, answer.ids)),
                Event::Failed { error, .. } => panic!("{error}"),
                Event::Token { .. } => {}
            }
        }
    }
    assert!(waited, "the pool was never full: this test shows nothing");
    assert!(engine.figures().evictions > 0);
    let together: Vec<_> = ids.iter().map(|id| answers[id].clone()).collect();
    assert_eq!(alone, together);
}

#[test]
fn a_prompt_that_was_read_before_is_not_read_again() {
    let prompt: Vec<u32> = (1..50).collect();
    let mut engine = Engine::new(model(), EngineOptions::default()).expect("memory");
    let mut answer = |block: usize| {
        engine.options.prompt_block = block;
        let id = engine.start(prompt.clone(), sampled(7, 5)).expect("starts");
        let mut steps = 0;
        while engine.in_flight() > 0 {
            steps += 1;
            for event in engine.step() {
                if let Event::Finished { sequence, answer } = event {
                    assert_eq!(sequence, id);
                    return (steps, answer.ids);
                }
            }
        }
        panic!("no answer");
    };
    let (first_steps, first) = answer(8);
    let (second_steps, second) = answer(8);
    assert_eq!(first, second);
    // 49 tokens in blocks of 8, of which three pages of 16 are known the second time.
    assert_eq!((first_steps, second_steps), (7 + 4, 1 + 4));
}

#[test]
fn a_sequence_whose_numbers_are_not_finite_fails_alone() {
    let mut tensors = test_model::tensors();
    tensors.push(("output.weight".into(), vec![32, test_model::VOCABULARY]));
    let mut file = test_model::gguf_with(&tensors);
    // The embedding is the first tensor: its row 6 becomes NaN.
    let lengths = tensors
        .iter()
        .map(|(_, sizes)| sizes.iter().product::<u64>() * 4);
    let data: u64 = lengths.map(|length| length.next_multiple_of(32)).sum();
    let row = file.len() - data as usize + 6 * 32 * 4;
    file[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let model = load(file).expect("loads");
    let mut engine = Engine::new(model, EngineOptions::default()).expect("memory");
    let good = engine.start(vec![4, 5], sampled(1, 1)).expect("starts");
    let bad = engine.start(vec![4, 6], sampled(1, 1)).expect("starts");
    let mut ended = Vec::new();
    for event in engine.step() {
        match event {
            Event::Failed { sequence, error } => {
                assert!(matches!(error, Error::NotFinite), "{error}");
                ended.push((sequence, false));
            }
            Event::Finished { sequence, .. } => ended.push((sequence, true)),
            Event::Token { .. } => {}
        }
    }
    assert_eq!(ended, [(good, true), (bad, false)]);
}

#[test]
fn several_answers_to_one_prompt_are_those_of_several_requests() {
    let prompt: Vec<u32> = (1..40).collect();
    let mut engine = Engine::new(model(), EngineOptions::default()).expect("memory");
    let started = engine
        .start_several(&prompt, &sampled(7, 12), 3)
        .expect("starts");
    let answers = run(&mut engine);
    for (id, seed) in started.iter().zip(7..) {
        let alone = model().generate(prompt.clone(), sampled(seed, 12), |_, _| {});
        assert_eq!(answers[id].ids, alone.expect("runs").ids);
    }
    let options = EngineOptions {
        max_sequences: 2,
        ..EngineOptions::default()
    };
    let mut engine = Engine::new(model(), options).expect("memory");
    assert!(engine.start_several(&prompt, &sampled(7, 12), 3).is_err());
    assert_eq!(engine.in_flight(), 0);
}

#[test]
fn likely_tokens_are_told_with_their_probabilities() {
    let model = model();
    let prompt = vec![5, 9, 40];
    let logits = model.logits(&prompt).expect("computes");
    let params = SamplingParams {
        logprobs: Some(5),
        max_tokens: 2,
        ..SamplingParams::default()
    };
    let mut engine = Engine::new(model, EngineOptions::default()).expect("memory");
    engine
        .start(prompt.clone(), params.clone())
        .expect("starts");
    let told = engine.step().into_iter().find_map(|event| match event {
        Event::Token { id, logprobs, .. } => Some((id, logprobs.expect("it was asked for"))),
        _ => None,
    });
    let (id, logprobs) = told.expect("a token");
    let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    assert_eq!(
        (logprobs.top.len(), logprobs.top[0]),
        (5, (id, logprobs.chosen))
    );
    assert!(logprobs.top.is_sorted_by(|a, b| a.1 >= b.1));
    for (id, logprob) in logprobs.top {
        let exact = (f64::from(logits[id as usize]).exp() / total).ln();
        assert!((f64::from(logprob) - exact).abs() < 1e-4);
    }
    let many = SamplingParams {
        logprobs: Some(21),
        ..params
    };
    assert!(engine.start(prompt, many).is_err());
}

#[test]
fn figures_are_those_of_what_was_done() {
    let mut engine = Engine::new(model(), EngineOptions::default()).expect("memory");
    let finish = |engine: &mut Engine| {
        while engine.in_flight() > 0 {
            engine.step();
        }
    };
    let new = engine.figures();
    assert_eq!((new.cache_pages_used, new.steps), (0, 0));
    let prompt: Vec<u32> = (1..41).collect();
    engine
        .start(prompt.clone(), sampled(1, 10))
        .expect("starts");
    engine.step();
    let reading = engine.figures();
    assert_eq!((reading.in_flight, reading.batch, reading.steps), (1, 1, 1));
    assert_eq!((reading.read_tokens, reading.chosen_tokens), (40, 1));
    // Three pages for forty tokens.
    assert_eq!(reading.cache_pages_used, 3);
    assert!(reading.read_time > Duration::ZERO && reading.decode_time.is_zero());
    finish(&mut engine);
    let alone = engine.figures();
    assert_eq!((alone.in_flight, alone.cache_pages_used), (0, 0));
    assert_eq!((alone.read_tokens, alone.prefix_hits), (40, 0));
    assert_eq!(alone.decoded_tokens + 1, alone.chosen_tokens);
    assert!(alone.decode_time > Duration::ZERO);

    // Two whole pages of the prompt are known; both read what is left of it.
    engine.start(prompt.clone(), sampled(2, 4)).expect("starts");
    engine.start(prompt, sampled(3, 4)).expect("starts");
    engine.step();
    let both = engine.figures();
    assert_eq!(
        (both.batch, both.prefix_hits, both.known_tokens),
        (2, 2, 64)
    );
    assert_eq!(both.read_tokens, 40 + 2 * 8);
    assert_eq!(both.chosen_tokens, alone.chosen_tokens + 2);
    finish(&mut engine);
    assert_eq!(engine.figures().evictions, 0);
    assert_eq!(engine.figures().cache_pages, new.cache_pages);
}

//! A whole calibration on the tiny model, and the rules by which terms are found.

use super::answers::Vote;
use super::terms::{Terms, apart};
use super::*;
use crate::test_model;

fn vote(gaps: Vec<u32>) -> Vote {
    Vote {
        answer: 0,
        verifier: "f32",
        matches: 0,
        differences: vec![],
        is_formed: true,
        gaps,
    }
}

#[test]
fn proposed_terms_keep_every_vote_that_they_were_found_with_and_no_single_large_gap() {
    let mut votes: Vec<Vote> = (0..20)
        .map(|index| {
            vote(
                (0..64)
                    .map(|at| (at * 37 + index * 11) % 97 * u32::from(at % 9 == 0))
                    .collect(),
            )
        })
        .collect();
    votes[3].gaps[5] = 700;
    votes[4].gaps[9] = 480;
    let groups: Vec<Vec<&Vote>> = vec![votes[..10].iter().collect(), votes[10..].iter().collect()];
    let terms = Terms::fit(&groups, &[40, 120]);
    assert!(votes.iter().all(|vote| terms.within(vote)), "{terms:?}");
    assert_eq!(terms.tolerance_milli, 200);
    let last = terms.levels.last().expect("there is one");
    assert_eq!((last.above_milli, last.share, last.besides), (1500, 0, 0));
    assert!(
        terms
            .levels
            .is_sorted_by(|a, b| a.above_milli < b.above_milli)
    );
    let mut cheat = votes[0].clone();
    cheat.gaps[60] = 1501;
    assert!(!terms.within(&cheat));
    let unformed = Vote {
        is_formed: false,
        ..votes[0].clone()
    };
    assert!(!terms.within(&unformed));
    let everywhere = vote(vec![400; 64]);
    assert!(!terms.within(&everywhere));
}

#[test]
fn validators_are_as_far_apart_as_at_their_worst_probe() {
    assert_eq!(apart(&[5, -200, 7], &[4, 100, 7]), 300);
    assert_eq!(apart(&[i32::MIN], &[i32::MAX]), u32::MAX);
}

#[test]
fn a_calibration_runs_from_end_to_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("tiny.gguf"), test_model::gguf()).expect("writes");
    let options = Options {
        model: folder.path().to_owned(),
        prompts: ["one", "two", "three", "four", "five"]
            .map(str::to_owned)
            .to_vec(),
        tokens: 16,
        others: vec![],
    };
    let mut steps = 0;
    let report = run(&options, |_| steps += 1).expect("runs");
    assert!(steps > 10);
    let judged = |author: &str| {
        let mut all = report.judged.iter();
        all.find(|judged| judged.author == author)
            .expect("it was judged")
    };
    // Found with these very votes.
    let packed = judged("16-bit activations");
    assert_eq!(
        (packed.known.votes, packed.known.within),
        (3 * 2 * 4, 3 * 2 * 4)
    );
    assert_eq!((packed.answers, packed.kind), (4, Kind::Honest));
    assert_eq!(
        judged("truncated").held_out.within,
        0,
        "its end is wrong for everybody"
    );
    assert!(judged("other prompt").held_out.votes > 0);
    let own = report
        .rows
        .iter()
        .find(|row| row.author == row.verifier)
        .expect("a row");
    assert!(own.largest_milli <= 1 || own.author != "16-bit activations");
    let table = report.to_string();
    assert!(table.contains("| two layers left out | sampled |") && table.contains("Tolerance"));
    serde_json::to_string(&report).expect("serialises");
    let few = Options {
        prompts: vec!["one".into()],
        ..options
    };
    assert!(run(&few, |_| ()).is_err());
}

#[test]
fn the_prompts_that_come_with_the_program_are_enough() {
    let prompts: Vec<&str> = PROMPTS.lines().collect();
    assert!(prompts.len() >= 20 && prompts.iter().all(|prompt| prompt.len() > 10));
}

#[test]
fn answers_of_other_programs_are_checked_where_they_are_held_out_and_their_prompts_agree() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("tiny.gguf"), test_model::gguf()).expect("writes");
    let model = Stack::Exact.load(folder.path()).expect("loads");
    let prompts = ["one", "two", "three", "four"].map(str::to_owned);
    let other = |prompt: &str, length: usize| {
        let text = match model.text().has_template() {
            true => model.render_chat(&[crate::ChatMessage::new("user", prompt)]),
            false => Ok(prompt.to_owned()),
        };
        let mut prompt_ids = model.encode(&text.expect("renders")).expect("encodes");
        prompt_ids.truncate(length);
        OtherAnswer {
            author: "another program".to_owned(),
            prompt: prompt.to_owned(),
            prompt_ids,
            ids: vec![5, 9],
        }
    };
    let of = |others: Vec<OtherAnswer>| {
        let options = Options {
            model: folder.path().to_owned(),
            prompts: prompts.to_vec(),
            tokens: 16,
            others,
        };
        answers::of_others(&model, &options)
    };
    let all = usize::MAX;
    let found = of(vec![
        other("one", all),
        other("two", all),
        other("never asked", all),
    ]);
    let found = found.expect("agrees");
    assert_eq!(found.len(), 1, "only the second prompt is held out");
    assert_eq!((found[0].prompt, found[0].kind), (1, Kind::Honest));
    assert_eq!(found[0].ids, [5, 9]);
    let error = of(vec![other("two", 1)])
        .expect_err("other tokens")
        .to_string();
    assert!(
        error.contains("another program saw other tokens"),
        "{error}"
    );
}

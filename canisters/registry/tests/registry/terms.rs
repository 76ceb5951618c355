//! Terms of models: published with them, in the feed once they are listed, corrected with the public delay.

use crate::world::*;
use emc_protocol::audit::GapLevel;
use emc_protocol::feed::{Change, ChangesArgs, ModelChange};
use emc_protocol::model::{ModelTerms, Royalty};
use emc_protocol::parameters::ParameterChange;
use emc_protocol::{AuditTerms, ModelEntry};
use emc_registry::parameters::settle;
use emc_registry::state::State;
use emc_registry::{catalogue, feed, parameter_log, terms};

fn good(royalty: u16) -> ModelTerms {
    ModelTerms {
        audit: Some(AuditTerms {
            levels: vec![
                GapLevel {
                    above_milli: 200,
                    share: 500,
                    besides: 1,
                },
                GapLevel {
                    above_milli: 2_000,
                    share: 0,
                    besides: 0,
                },
            ],
            tolerance_milli: 300,
        }),
        royalty,
        compute_units: 135,
    }
}

fn publish_with(state: &mut State, terms: ModelTerms) -> ModelEntry {
    let mut model = model("m");
    model.terms = Some(terms);
    catalogue::publish(state, START, owner(1), model).expect("a good model")
}

fn in_feed(state: &State) -> ModelChange {
    let args = ChangesArgs {
        after: 0,
        escrow: escrow(1),
        limit: 10,
    };
    match feed::changes_since(state, START, &args).changes.pop() {
        Some(it) => match it.change {
            Some(Change::Model(change)) => change,
            other => panic!("{other:?}"),
        },
        None => panic!("the feed is empty"),
    }
}

#[test]
fn terms_are_shown_at_once_and_have_effect_once_listed() {
    let (mut state, _) = registry();
    let entry = publish_with(&mut state, good(250));
    assert_eq!(entry.terms, Some(good(250)));
    let change = in_feed(&state);
    assert_eq!(
        (change.audit, change.royalty, change.compute_units),
        (None, None, None)
    );
    catalogue::list(&mut state, governor(), &newest("m")).expect("the governor");
    let change = in_feed(&state);
    assert_eq!(change.audit, good(250).audit);
    let royalty = Royalty {
        author: owner(1),
        share: 250,
    };
    assert_eq!(change.royalty, Some(royalty));
    assert_eq!(change.compute_units, Some(135));
}

#[test]
fn a_model_without_terms_has_none_in_effect() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    catalogue::list(&mut state, governor(), &newest("m")).expect("the governor");
    let change = in_feed(&state);
    assert!(change.listed);
    assert_eq!(
        (change.audit, change.royalty, change.compute_units),
        (None, None, None)
    );
}

#[test]
fn terms_that_cannot_be_applied_are_refused() {
    let (mut state, _) = registry();
    let mut refused = |change: &dyn Fn(&mut ModelTerms), field: &str| {
        let mut bad = good(1);
        change(&mut bad);
        let mut model = model("m");
        model.terms = Some(bad);
        let error = catalogue::publish(&mut state, START, owner(1), model).expect_err(field);
        assert!(error.message.contains(field), "{}", error.message);
    };
    refused(&|terms| terms.royalty = 10_001, "terms.royalty");
    let audit = |change: fn(&mut AuditTerms)| {
        move |terms: &mut ModelTerms| change(terms.audit.as_mut().expect("there is one"))
    };
    refused(&audit(|audit| audit.levels.reverse()), "terms.audit");
    refused(&audit(|audit| audit.levels.clear()), "terms.audit");
    refused(&audit(|audit| audit.tolerance_milli = 0), "terms.audit");
    refused(
        &audit(|audit| audit.levels[0].share = 10_001),
        "terms.audit",
    );
    assert_eq!(state.models.len(), 0);
}

#[test]
fn the_governor_corrects_terms_with_the_public_delay() {
    let (mut state, _) = registry();
    publish_with(&mut state, good(250));
    catalogue::list(&mut state, governor(), &newest("m")).expect("the governor");
    let correct = |state: &mut State, who, royalty| {
        terms::set(state, START, who, &newest("m"), good(royalty))
    };
    assert_eq!(code(correct(&mut state, owner(1), 300)), "forbidden");
    assert_eq!(code(correct(&mut state, governor(), 10_001)), "invalid");
    let entry = correct(&mut state, governor(), 300).expect("the governor");
    assert_eq!(entry.terms, Some(good(250)));
    let pending = entry.pending_terms.expect("it is public");
    let effective = START + DELAY * SECOND;
    assert_eq!((pending.terms, pending.effective.0), (good(300), effective));
    correct(&mut state, governor(), 300).expect("the same again");
    settle(&mut state, effective - 1);
    assert_eq!(in_feed(&state).royalty.map(|it| it.share), Some(250));
    settle(&mut state, effective);
    assert_eq!(in_feed(&state).royalty.map(|it| it.share), Some(300));
    let entry = catalogue::model(&state, &newest("m")).expect("there");
    assert_eq!((entry.terms, entry.pending_terms), (Some(good(300)), None));
    assert_eq!(state.terms_due.len(), 0);
    let log = parameter_log::page(&state, 0, 10).events;
    let kinds: Vec<bool> = log
        .iter()
        .map(|event| matches!(event.what, Some(ParameterChange::TermsApplied { .. })))
        .collect();
    assert_eq!(kinds, [false, true]);
}

#[test]
fn a_second_correction_replaces_the_first() {
    let (mut state, _) = registry();
    publish_with(&mut state, good(250));
    for (at, royalty) in [(START, 300), (START + 60 * SECOND, 400)] {
        terms::set(&mut state, at, governor(), &newest("m"), good(royalty)).expect("the governor");
    }
    assert_eq!(state.terms_due.len(), 1);
    let royalty = |state: &State| {
        let entry = catalogue::model(state, &newest("m")).expect("there");
        entry.terms.expect("it has terms").royalty
    };
    settle(&mut state, START + DELAY * SECOND);
    assert_eq!(royalty(&state), 250);
    settle(&mut state, START + (DELAY + 60) * SECOND);
    assert_eq!(royalty(&state), 400);
}

#[test]
fn publishing_the_same_again_is_harmless_after_a_correction_too() {
    let (mut state, _) = registry();
    publish_with(&mut state, good(250));
    terms::set(&mut state, START, governor(), &newest("m"), good(300)).expect("the governor");
    assert_eq!(publish_with(&mut state, good(250)).version, 1);
    settle(&mut state, START + DELAY * SECOND);
    assert_eq!(publish_with(&mut state, good(250)).version, 1);
    assert_eq!(
        publish_with(&mut state, good(260)).version,
        2,
        "other terms are another version"
    );
}

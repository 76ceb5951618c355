//! Publishing, listing and retiring models.

use crate::world::*;
use emc_protocol::model::{ModelFilter, Task, model_root};
use emc_registry::{catalogue, listing};

#[test]
fn the_registry_computes_the_root_of_what_is_published() {
    let (mut state, _) = registry();
    let entry = catalogue::publish(&mut state, START, owner(1), model("m")).expect("a good model");
    assert_eq!(entry.root, model_root(&model("m").files));
    assert_eq!(
        (entry.version, entry.author, entry.listed),
        (1, owner(1), false)
    );
}

#[test]
fn only_the_author_adds_versions() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    let mut other = model("m");
    other.context = 4096;
    assert_eq!(
        code(catalogue::publish(
            &mut state,
            START,
            owner(2),
            other.clone()
        )),
        "forbidden"
    );
    let entry = catalogue::publish(&mut state, START, owner(1), other).expect("its author");
    assert_eq!(entry.version, 2);
    assert_eq!(
        catalogue::model(&state, &newest("m"))
            .expect("there")
            .version,
        2
    );
    assert_eq!(
        catalogue::model(&state, &version("m", 1))
            .expect("kept")
            .context,
        2048
    );
}

#[test]
fn publishing_the_same_again_is_harmless() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    let sequence = state.totals.get().sequence;
    let again = catalogue::publish(&mut state, START + 9, owner(1), model("m")).expect("harmless");
    assert_eq!((again.version, again.published.0), (1, START));
    assert_eq!(state.totals.get().sequence, sequence);
}

#[test]
fn the_governor_lists_and_the_author_or_he_retires() {
    let (mut state, _) = registry();
    publish(&mut state, 1, "m");
    assert_eq!(
        code(catalogue::list(&mut state, owner(1), &newest("m"))),
        "forbidden"
    );
    assert!(
        catalogue::list(&mut state, governor(), &newest("m"))
            .expect("the governor")
            .listed
    );
    assert_eq!(
        code(catalogue::retire(&mut state, owner(2), &newest("m"))),
        "forbidden"
    );
    assert!(
        catalogue::retire(&mut state, owner(1), &newest("m"))
            .expect("its author")
            .retired
    );
    assert_eq!(
        code(catalogue::retire(&mut state, governor(), &newest("x"))),
        "unknown_model"
    );
}

#[test]
fn malformed_models_are_refused_with_the_field_named() {
    let (mut state, _) = registry();
    let mut refused = |change: &dyn Fn(&mut emc_protocol::model::PublishModel), field: &str| {
        let mut bad = model("m");
        change(&mut bad);
        let error = catalogue::publish(&mut state, START, owner(1), bad).expect_err(field);
        assert!(error.message.contains(field), "{field}: {}", error.message);
    };
    refused(&|m| m.id = "Upper".into(), "id");
    refused(&|m| m.id = "a".repeat(97), "id");
    refused(&|m| m.name = "n".repeat(513), "name");
    refused(&|m| m.files.clear(), "files");
    refused(&|m| m.files[0].path = "../x".into(), "files.path");
    refused(&|m| m.files[0].path = "/x".into(), "files.path");
    refused(&|m| m.files[0].sha256.truncate(31), "files.sha256");
    refused(&|m| m.files.push(m.files[0].clone()), "files.path");
    refused(&|m| m.sources = vec!["s".into(); 17], "sources");
    let long = |i: usize| emc_protocol::model::ModelFile {
        path: format!("{i:0>250}"),
        length: 1,
        sha256: vec![0; 32],
    };
    refused(&|m| m.files = (0..400).map(long).collect(), "files");
    assert_eq!(state.models.len(), 0);
}

#[test]
fn an_author_publishes_a_bounded_number_a_day() {
    let (mut state, _) = registry();
    for n in 0..100 {
        publish(&mut state, 1, &format!("m{n}"));
    }
    assert_eq!(
        code(catalogue::publish(
            &mut state,
            START,
            owner(1),
            model("more")
        )),
        "busy"
    );
    publish(&mut state, 2, "others");
    let tomorrow = START + 24 * 3600 * SECOND;
    catalogue::publish(&mut state, tomorrow, owner(1), model("more")).expect("another day");
}

#[test]
fn models_are_listed_page_by_page_through_any_filter() {
    let (mut state, _) = registry();
    for n in 0..30 {
        publish(&mut state, 1, &format!("m{n:02}"));
    }
    for n in [3, 17] {
        catalogue::list(&mut state, governor(), &newest(&format!("m{n:02}"))).expect("there");
    }
    let all = |filter: ModelFilter| {
        let mut filter = ModelFilter {
            limit: Some(7),
            ..filter
        };
        let mut found = vec![];
        loop {
            let page = listing::models(&state, &filter);
            found.extend(page.models.into_iter().map(|model| model.id));
            if !page.more {
                return found;
            }
            filter.after = page.next;
        }
    };
    assert_eq!(all(ModelFilter::default()).len(), 30);
    let listed = ModelFilter {
        listed_only: Some(true),
        ..ModelFilter::default()
    };
    assert_eq!(all(listed), ["m03", "m17"]);
    let text = ModelFilter {
        text: Some("MODEL M2".into()),
        ..ModelFilter::default()
    };
    assert_eq!(all(text).len(), 10);
}

#[test]
fn a_search_by_task_and_text_finds_what_has_both() {
    let (mut state, _) = registry();
    for (id, task) in [
        ("chat-a", Task::Chat),
        ("image-a", Task::Image),
        ("image-b", Task::Image),
        ("embedding-a", Task::Embedding),
    ] {
        let mut published = model(id);
        published.task = task;
        catalogue::publish(&mut state, START, owner(1), published).expect("a good model");
    }
    let found = |task, text: Option<&str>| -> Vec<String> {
        let filter = ModelFilter {
            task,
            text: text.map(str::to_owned),
            ..ModelFilter::default()
        };
        let page = listing::models(&state, &filter);
        page.models.into_iter().map(|model| model.id).collect()
    };
    assert_eq!(found(Some(Task::Image), None).len(), 2);
    assert_eq!(found(Some(Task::Image), Some("-A")), ["image-a"]);
    assert_eq!(found(None, Some("-a")).len(), 3);
    assert!(found(Some(Task::Chat), Some("image")).is_empty());
}

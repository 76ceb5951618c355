//! A chat template of anybody's.

#![no_main]

use emc_inference::{ChatMessage, ChatTemplate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| {
    let messages = [
        ChatMessage::new("system", "Be brief."),
        ChatMessage::new("user", "Why is the sky blue?"),
        ChatMessage::new("assistant", "Because of Rayleigh."),
        ChatMessage::new("user", "Who?"),
    ];
    if let Ok(template) = ChatTemplate::new(source, Some("<s>"), Some("</s>")) {
        let _ = template.render(&messages);
    }
});

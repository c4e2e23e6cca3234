//! Any text as a chat template: an error about the template, or a conversation that it renders, in bounded time and memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgpt::{
    Error,
    text::{ChatTemplate, Message, chat::SpecialTokens},
};

fuzz_target!(|template: &str| {
    let rendered = ChatTemplate::new(template, SpecialTokens::default()).and_then(|template| {
        let turns = [Message::new("system", "Be brief."), Message::new("user", "To be, or\n not 世界?")];
        template.render(&turns, true)
    });
    if let Err(error) = rendered {
        assert!(matches!(error, Error::Template(_)), "{error:?}");
    }
});

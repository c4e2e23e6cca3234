//! A request that is waiting or being answered.

use super::{
    pages::PageTable,
    request::{Event, Request, TokenEvent},
};
use crate::{infer::generate::Finish, ops::kv::paged::PAGE};

/// A text that grows.
pub(super) struct Sequence {
    pub request: Request,
    /// The prompt, followed by the generated tokens.
    pub tokens: Vec<u32>,
    /// How many of the tokens belong to the prompt.
    pub prompt: usize,
    /// How many of the tokens are in the pages.
    pub read: usize,
    pub pages: Vec<u32>,
    /// The name of the last published page, and how many pages are published.
    name: u64,
    known: usize,
    /// Index of the adapter, 0 for none.
    pub adapter: usize,
    started: bool,
}

/// How a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Cancelled,
    Failed,
}

impl Sequence {
    pub fn new(mut request: Request, adapter: usize) -> Self {
        let tokens = std::mem::take(&mut request.prompt);
        let prompt = tokens.len();
        let name = adapter as u64;
        Self { request, tokens, prompt, read: 0, pages: Vec::new(), name, known: 0, adapter, started: false }
    }

    /// Number of tokens that are not in the pages yet: more than one while a prompt is being read, one while decoding.
    pub fn unread(&self) -> usize {
        self.tokens.len() - self.read
    }

    /// The generated tokens.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    /// Takes pages for all its tokens, known ones where possible, if `reserve` pages are left over; otherwise takes
    /// none and returns false. The last token is always read, because its scores are not kept.
    pub fn enter(&mut self, page_table: &mut PageTable, reserve: usize) -> bool {
        let (pages, name) = page_table.find(self.adapter, &self.tokens[..self.tokens.len() - 1]);
        let missing = self.tokens.len().div_ceil(PAGE) - pages.len();
        if page_table.available() < missing + reserve {
            page_table.release(&pages);
            return false;
        }
        (self.known, self.read, self.name, self.pages) = (pages.len(), pages.len() * PAGE, name, pages);
        self.pages.extend((0..missing).map_while(|_| page_table.take()));
        true
    }

    /// Whether the next token has a page.
    pub fn has_room(&self) -> bool {
        self.pages.len() * PAGE > self.read
    }

    /// Notes that `count` more tokens are in the pages, and publishes full pages.
    pub fn advance(&mut self, page_table: &mut PageTable, count: usize) {
        self.read += count;
        while (self.known + 1) * PAGE <= self.read {
            let tokens = &self.tokens[self.known * PAGE..][..PAGE];
            self.name = page_table.publish(self.pages[self.known], self.name, tokens);
            self.known += 1;
        }
    }

    /// Gives its pages back; its tokens have to be read again later.
    pub fn leave(&mut self, page_table: &mut PageTable) {
        page_table.release(&std::mem::take(&mut self.pages));
        (self.read, self.known, self.name) = (0, 0, self.adapter as u64);
    }

    /// Reports, the first time only, that its prompt is being read; `Some(false)` if nobody listens any more.
    pub fn start(&mut self) -> Option<bool> {
        let first = !std::mem::replace(&mut self.started, true);
        first.then(|| (self.request.listener)(Event::Started { cached: self.read }))
    }

    /// Takes its next token; returns how the sequence ended if that was the last. `window` is the maximum number
    /// of tokens that can be read.
    pub fn accept(&mut self, told: Result<TokenEvent, String>, window: usize) -> Option<End> {
        let told = match told {
            Ok(told) => told,
            Err(reason) => return Some(self.fail(reason)),
        };
        let id = told.chosen.id;
        if let Some(constraint) = &mut self.request.constraint {
            constraint.accept(id);
        }
        if self.request.stops.contains(&id) {
            return Some(self.finish(Finish::Stop));
        }
        self.tokens.push(id);
        if !(self.request.listener)(Event::Token(told)) {
            return Some(End::Cancelled);
        }
        let full = self.generated().len() >= self.request.count || self.tokens.len() > window;
        full.then(|| self.finish(Finish::Length))
    }

    pub fn finish(&mut self, finish: Finish) -> End {
        (self.request.listener)(Event::Finished(finish));
        End::Finished
    }

    pub fn fail(&mut self, reason: String) -> End {
        (self.request.listener)(Event::Failed(reason));
        End::Failed
    }
}

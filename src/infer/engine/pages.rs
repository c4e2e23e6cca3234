//! The host's side of the pool: who holds which page, and the known content of pages that nobody holds.
//!
//! A full page never changes again. It is identified by its tokens and by the page before it, so a text that begins
//! with the same tokens under the same adapter uses it instead of reading them. Pages that nobody holds stay known
//! until their memory is needed; those released first are reused first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ops::kv::paged::PAGE;

/// What identifies a full page: the name of the page before it (the adapter's for a text's first page), and its tokens.
type Key = (u64, Box<[u32]>);

/// Pages by number.
pub(super) struct PageTable {
    pages: Vec<Page>,
    by_key: HashMap<Key, u32>,
    /// Pages that nobody holds and whose content is unknown; the lowest number is taken first,
    /// so that memory grows late.
    free: BTreeSet<u32>,
    /// Known pages that nobody holds, by release time.
    idle: BTreeMap<u64, u32>,
    clock: u64,
    names: u64,
}

#[derive(Clone, Default)]
struct Page {
    holders: u32,
    /// Its key, and the name by which the page after it refers to it.
    known: Option<(Key, u64)>,
    /// When it was released.
    since: u64,
}

/// Smaller names are those of adapters.
const FIRST_NAME: u64 = 1 << 32;

impl PageTable {
    /// `count` free pages.
    pub fn new(count: usize) -> Self {
        Self {
            pages: vec![Page::default(); count],
            by_key: HashMap::new(),
            free: (0..count as u32).collect(),
            idle: BTreeMap::new(),
            clock: 0,
            names: FIRST_NAME,
        }
    }

    /// The number of pages.
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// The number of pages that can be taken.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Takes a page to write into. Its previous content is forgotten.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.free.pop_first().or_else(|| self.idle.pop_first().map(|(_, page)| page))?;
        let entry = &mut self.pages[page as usize];
        if let Some((key, _)) = entry.known.take() {
            self.by_key.remove(&key);
        }
        entry.holders = 1;
        Some(page)
    }

    /// Takes the known whole pages that `tokens` begin with under `adapter`; returns them and the name of the last.
    pub fn find(&mut self, adapter: usize, tokens: &[u32]) -> (Vec<u32>, u64) {
        let (mut pages, mut name) = (Vec::new(), adapter as u64);
        for tokens in tokens.chunks_exact(PAGE) {
            let Some(&page) = self.by_key.get(&(name, tokens.into())) else { break };
            let entry = &mut self.pages[page as usize];
            if entry.holders == 0 {
                self.idle.remove(&entry.since);
            }
            entry.holders += 1;
            name = entry.known.as_ref().map_or(name, |(_, name)| *name);
            pages.push(page);
        }
        (pages, name)
    }

    /// Publishes that `page` holds `tokens` after the page named `before`; returns its name. If another page is already
    /// known for that, it stays the known one.
    pub fn publish(&mut self, page: u32, before: u64, tokens: &[u32]) -> u64 {
        let key: Key = (before, tokens.into());
        if let Some(&other) = self.by_key.get(&key) {
            return self.pages[other as usize].known.as_ref().map_or(before, |(_, name)| *name);
        }
        self.names += 1;
        self.by_key.insert(key.clone(), page);
        self.pages[page as usize].known = Some((key, self.names));
        self.names
    }

    /// Releases a text's pages. Of the known ones, the last is reused first when memory is needed, because the
    /// beginnings of texts are shared more often.
    pub fn release(&mut self, pages: &[u32]) {
        for &page in pages.iter().rev() {
            let entry = &mut self.pages[page as usize];
            entry.holders -= 1;
            if entry.holders > 0 {
                continue;
            }
            if entry.known.is_some() {
                self.clock += 1;
                entry.since = self.clock;
                self.idle.insert(self.clock, page);
            } else {
                self.free.insert(page);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGE, PageTable};

    fn text(pages: usize, salt: u32) -> Vec<u32> {
        (0..(pages * PAGE) as u32).map(|i| i * 7 + salt).collect()
    }

    /// Reads a text: takes the known pages, writes and publishes the rest.
    fn read(page_table: &mut PageTable, adapter: usize, tokens: &[u32]) -> (Vec<u32>, usize) {
        let (mut pages, mut name) = page_table.find(adapter, tokens);
        let known = pages.len();
        for tokens in tokens.chunks_exact(PAGE).skip(known) {
            let page = page_table.take().expect("a page");
            name = page_table.publish(page, name, tokens);
            pages.push(page);
        }
        (pages, known)
    }

    #[test]
    fn common_beginnings_are_shared_but_never_across_adapters() {
        let mut page_table = PageTable::new(8);
        let (a, known) = read(&mut page_table, 0, &text(3, 0));
        assert_eq!((known, page_table.available()), (0, 5));
        let mut other = text(3, 0);
        other[2 * PAGE] += 1;
        let (b, known) = read(&mut page_table, 0, &other);
        assert_eq!((known, &b[..2], page_table.available()), (2, &a[..2], 4));
        assert_ne!(a[2], b[2]);
        assert_eq!(page_table.find(1, &text(3, 0)), (vec![], 1), "another adapter computes other keys");
        assert!(page_table.find(0, &text(1, 0)[1..]).0.is_empty(), "no whole page");
        page_table.release(&a);
        assert_eq!(page_table.available(), 5, "two pages are still the other's");
        page_table.release(&b);
        assert_eq!(page_table.available(), 8);
        assert_eq!(read(&mut page_table, 0, &text(3, 0)).1, 3, "known though nobody held it");
    }

    #[test]
    fn the_least_recently_used_page_goes_first_from_the_end() {
        let mut page_table = PageTable::new(4);
        let (old, _) = read(&mut page_table, 0, &text(2, 0));
        let (new, _) = read(&mut page_table, 0, &text(2, 1000));
        page_table.release(&old);
        page_table.release(&new);
        assert_eq!(page_table.take(), Some(old[1]));
        assert_eq!(page_table.find(0, &text(2, 0)).0, [old[0]], "the beginning stays");
        assert_eq!(page_table.find(0, &text(2, 1000)).0, new);
        assert_eq!((page_table.available(), page_table.take()), (0, None));
    }

    #[test]
    fn the_same_text_twice_at_once_is_known_once() {
        let mut page_table = PageTable::new(4);
        let tokens = text(2, 0);
        let pages: Vec<u32> = (0..4).filter_map(|_| page_table.take()).collect();
        let first = page_table.publish(pages[0], 0, &tokens[..PAGE]);
        assert_eq!(page_table.publish(pages[2], 0, &tokens[..PAGE]), first, "both go on from the same name");
        page_table.publish(pages[1], first, &tokens[PAGE..]);
        page_table.release(&pages);
        assert_eq!(page_table.available(), 4);
        assert_eq!(page_table.find(0, &tokens).0, pages[..2]);
    }
}

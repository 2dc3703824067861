//! Texts about metrics, each kept once however many targets say it: a thousand
//! node_exporters say the same of three hundred families.

use std::sync::{Arc, LazyLock};

use hashbrown::HashTable;
use model::Metadata;
use model::series_cache::SeriesKey;
use parking_lot::Mutex;

/// Tables that texts are spread over, so that targets do not wait for each other.
const SHARDS: usize = 16;

/// A family and what is said of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) family: String,
    pub(super) metadata: Metadata,
}

/// A text that others may hold too. It goes with the last of them.
#[derive(Debug)]
pub(super) struct SharedText {
    /// `None` only while it is dropped.
    text: Option<Arc<Text>>,
}

static TEXTS: LazyLock<[Mutex<HashTable<Arc<Text>>>; SHARDS]> = LazyLock::new(Default::default);

impl Text {
    fn hash(&self) -> u64 {
        let hash = |text: &str| SeriesKey::of(text.as_bytes()).table_hash();
        hash(&self.family) ^ hash(&self.metadata.help).rotate_left(1)
    }

    fn shard(hash: u64) -> &'static Mutex<HashTable<Arc<Text>>> {
        &TEXTS[(hash >> 32) as usize % SHARDS]
    }
}

impl SharedText {
    /// The one text that equals this.
    pub(super) fn of(text: Text) -> SharedText {
        let hash = text.hash();
        let mut table = Text::shard(hash).lock();
        let found = table.entry(hash, |known| **known == text, |known| known.hash());
        SharedText { text: Some(found.or_insert_with(|| Arc::new(text)).get().clone()) }
    }
}

impl std::ops::Deref for SharedText {
    type Target = Text;

    fn deref(&self) -> &Text {
        self.text.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for SharedText {
    fn drop(&mut self) {
        let Some(text) = self.text.take() else { return };
        let hash = text.hash();
        let mut table = Text::shard(hash).lock();
        // Nobody else can take or leave the text now: with this and the table's
        // own there are two where it was the last.
        if Arc::strong_count(&text) == 2
            && let Ok(known) = table.find_entry(hash, |known| Arc::ptr_eq(known, &text))
        {
            known.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(help: &str) -> SharedText {
        let metadata = Metadata { help: help.to_owned(), ..Metadata::default() };
        SharedText::of(Text { family: "texts_are_kept_once".to_owned(), metadata })
    }

    /// Holders of a text, the table among them; 0 where nobody has it.
    fn holders(text: &Text) -> usize {
        let hash = text.hash();
        let table = Text::shard(hash).lock();
        table.find(hash, |known| **known == *text).map_or(0, Arc::strong_count)
    }

    #[test]
    fn texts_are_kept_once_and_go_with_the_last_holder() {
        let (first, second, other) = (text("a"), text("a"), text("b"));
        assert!(std::ptr::eq(&*first, &*second) && !std::ptr::eq(&*first, &*other));
        assert_eq!((holders(&first), holders(&other)), (3, 2));
        drop(first);
        assert_eq!(holders(&second), 2);
        let metadata = second.metadata.clone();
        drop(second);
        assert_eq!(holders(&Text { family: other.family.clone(), metadata }), 0);
        assert_eq!(holders(&other), 2);
    }

    #[test]
    fn threads_that_take_and_leave_the_same_text_lose_none() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        assert_eq!(text("shared").metadata.help, "shared");
                    }
                });
            }
        });
        let metadata = Metadata { help: "shared".to_owned(), ..Metadata::default() };
        assert_eq!(holders(&Text { family: "texts_are_kept_once".to_owned(), metadata }), 0);
    }
}

//! Pages of one target appended without a loop: for benchmarks, tests and
//! tools that bring their own pages.

use std::sync::Arc;

use model::metrics::Registry;
use model::{Appendable, StorageError};

use crate::append::{
    AppendContext, AppendOptions, Counts, PageError, TargetState, append_nothing, append_page,
};
use crate::job::Job;
use crate::metrics::ScrapeMetrics;
use crate::target::Target;

/// Appends the pages of one target, one after the other.
pub struct PageAppender {
    job: Arc<Job>,
    target: Target,
    options: AppendOptions,
    metrics: ScrapeMetrics,
    state: TargetState,
}

/// What a page yielded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// Samples in the page.
    pub samples: u64,
    /// Samples that relabelling kept.
    pub kept: u64,
    /// Series that were not known before.
    pub series_added: u64,
}

impl From<Counts> for PageCounts {
    fn from(counts: Counts) -> PageCounts {
        PageCounts { samples: counts.total, kept: counts.added, series_added: counts.series_added }
    }
}

impl PageAppender {
    /// An appender that knows no series yet.
    pub fn new(job: Arc<Job>, target: Target, options: AppendOptions, registry: &Registry) -> PageAppender {
        PageAppender {
            job,
            target,
            options,
            metrics: ScrapeMetrics::new(registry),
            state: TargetState::new(),
        }
    }

    /// Appends a page as one batch; a page that fails ends all series of the
    /// one before.
    ///
    /// # Errors
    /// The page or the store fails; nothing of the page is stored.
    pub fn append(
        &mut self,
        store: &dyn Appendable,
        page: &[u8],
        content_type: &str,
        time_ms: i64,
    ) -> Result<PageCounts, PageError> {
        let context = AppendContext {
            job: &self.job,
            target: &self.target,
            options: self.options,
            metrics: &self.metrics,
            now_ms: time_ms,
        };
        let mut appender = store.appender()?;
        let (counts, result) =
            append_page(&context, &mut self.state, appender.as_mut(), page, content_type, time_ms);
        if let Err(error) = result {
            appender.rollback();
            let mut appender = store.appender()?;
            append_nothing(&context, &mut self.state, appender.as_mut(), time_ms);
            appender.commit()?;
            return Err(error);
        }
        appender.commit()?;
        Ok(counts.into())
    }

    /// Ends all series of the page before.
    ///
    /// # Errors
    /// The store fails.
    pub fn append_nothing(&mut self, store: &dyn Appendable, time_ms: i64) -> Result<(), StorageError> {
        let context = AppendContext {
            job: &self.job,
            target: &self.target,
            options: self.options,
            metrics: &self.metrics,
            now_ms: time_ms,
        };
        let mut appender = store.appender()?;
        append_nothing(&context, &mut self.state, appender.as_mut(), time_ms);
        appender.commit().map(|_| ())
    }

    /// Bytes that are remembered from page to page, metadata aside.
    pub fn cache_bytes(&self) -> usize {
        self.state.cache.heap_bytes()
    }
}

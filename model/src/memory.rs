//! One account of memory, with a ceiling and an order of refusal.
//!
//! Large owners (head pages, labels, postings, caches …) keep their figure up
//! to date through an [`Owner`]; queries, request bodies and queues take a
//! [`Lease`] before they grow. When the sum nears the ceiling, caches shrink
//! first, then queries are refused, then new series, then writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Leases reserve in steps of so many bytes, so that the shared counter is
/// touched seldom.
pub const LEASE_STEP_BYTES: u64 = 64 * 1024;

/// How near the ceiling the process is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Below 80 % of the ceiling.
    None,
    /// From 80 %: caches shrink.
    ShrinkCaches,
    /// From 90 %: new queries are refused.
    RefuseQueries,
    /// From 95 %: new series are refused.
    RefuseSeries,
    /// From 98 %: writes are refused.
    RefuseWrites,
}

/// A request was refused for want of memory, with the figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{by} needs {wanted} more bytes of memory, but {used} of {limit} are in use")]
pub struct MemoryRefused {
    /// Who asked.
    pub by: String,
    /// For how much.
    pub wanted: u64,
    /// What was in use.
    pub used: u64,
    /// Of how much.
    pub limit: u64,
}

/// The account of a process. Clones are the same account.
#[derive(Clone)]
pub struct Accountant {
    shared: Arc<Shared>,
}

struct Shared {
    limit: AtomicU64,
    owned: AtomicU64,
    leased: AtomicU64,
    refused: AtomicU64,
    owners: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
}

impl Accountant {
    /// An account with a ceiling in bytes; `u64::MAX` for none.
    pub fn new(limit: u64) -> Accountant {
        Accountant {
            shared: Arc::new(Shared {
                limit: AtomicU64::new(limit),
                owned: AtomicU64::new(0),
                leased: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                owners: Mutex::new(Vec::new()),
            }),
        }
    }

    /// An account without ceiling.
    pub fn unlimited() -> Accountant {
        Accountant::new(u64::MAX)
    }

    /// The ceiling in bytes.
    pub fn limit(&self) -> u64 {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Bytes in use: what owners report and leases hold.
    pub fn used(&self) -> u64 {
        self.shared.owned.load(Ordering::Relaxed) + self.shared.leased.load(Ordering::Relaxed)
    }

    /// How often memory was refused.
    pub fn refusals(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// How near the ceiling the process is.
    pub fn pressure(&self) -> Pressure {
        let used = u128::from(self.used()) * 100;
        let limit = u128::from(self.limit());
        match () {
            () if used >= limit * 98 => Pressure::RefuseWrites,
            () if used >= limit * 95 => Pressure::RefuseSeries,
            () if used >= limit * 90 => Pressure::RefuseQueries,
            () if used >= limit * 80 => Pressure::ShrinkCaches,
            () => Pressure::None,
        }
    }

    /// Opens a column of the account under a name, such as `head_labels`.
    pub fn owner(&self, name: &'static str) -> Owner {
        let bytes = Arc::new(AtomicU64::new(0));
        self.shared.owners.lock().push((name, bytes.clone()));
        Owner { shared: self.shared.clone(), bytes }
    }

    /// Bytes by owner, owners of the same name summed, in order of first use;
    /// the last entry, `leases`, is what requests have reserved.
    pub fn by_owner(&self) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for (name, bytes) in self.shared.owners.lock().iter() {
            let bytes = bytes.load(Ordering::Relaxed);
            match sums.iter_mut().find(|(have, _)| have == name) {
                Some((_, sum)) => *sum += bytes,
                None => sums.push((name, bytes)),
            }
        }
        sums.push(("leases", self.shared.leased.load(Ordering::Relaxed)));
        sums
    }

    /// A lease that holds nothing yet and may grow to `budget` bytes.
    /// `refuse_from` is the pressure at which growing is refused.
    pub fn lease(&self, by: &str, budget: u64, refuse_from: Pressure) -> Lease {
        Lease {
            accountant: self.clone(),
            by: by.to_owned(),
            budget,
            refuse_from,
            reserved: AtomicU64::new(0),
        }
    }

    fn refusal(&self, by: &str, wanted: u64, used: u64, limit: u64) -> MemoryRefused {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        MemoryRefused { by: by.to_owned(), wanted, used, limit }
    }
}

/// One large owner's figure; dropping it takes its bytes off the account.
pub struct Owner {
    shared: Arc<Shared>,
    bytes: Arc<AtomicU64>,
}

impl Owner {
    /// Reports what the owner holds now.
    pub fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.shared.owned.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }

    /// What the owner last reported.
    pub fn get(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.set(0);
        self.shared.owners.lock().retain(|(_, bytes)| !Arc::ptr_eq(bytes, &self.bytes));
    }
}

/// Memory that a request has reserved; given back when dropped.
pub struct Lease {
    accountant: Accountant,
    by: String,
    budget: u64,
    refuse_from: Pressure,
    reserved: AtomicU64,
}

impl Lease {
    /// Makes sure that at least `bytes` are reserved in all.
    ///
    /// # Errors
    /// The lease's own budget or the process' ceiling would be passed.
    pub fn grow_to(&self, bytes: u64) -> Result<(), MemoryRefused> {
        let have = self.reserved.load(Ordering::Relaxed);
        if bytes <= have {
            return Ok(());
        }
        if bytes > self.budget {
            return Err(self.accountant.refusal(&self.by, bytes - have, have, self.budget));
        }
        let target = bytes.next_multiple_of(LEASE_STEP_BYTES).min(self.budget);
        let more = target - have;
        let used = self.accountant.shared.leased.fetch_add(more, Ordering::Relaxed)
            + self.accountant.shared.owned.load(Ordering::Relaxed)
            + more;
        let limit = self.accountant.limit();
        let share = match self.refuse_from {
            Pressure::None => 80,
            Pressure::ShrinkCaches | Pressure::RefuseQueries => 90,
            Pressure::RefuseSeries => 95,
            Pressure::RefuseWrites => 98,
        };
        if u128::from(used) * 100 > u128::from(limit) * share {
            self.accountant.shared.leased.fetch_sub(more, Ordering::Relaxed);
            return Err(self.accountant.refusal(&self.by, more, used - more, limit));
        }
        self.reserved.store(target, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.accountant.shared.leased.fetch_sub(self.reserved(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_leases_add_up_and_go_away() {
        let accountant = Accountant::new(100 << 20);
        let owner = accountant.owner("head");
        owner.set(10 << 20);
        {
            let lease = accountant.lease("query", 8 << 20, Pressure::RefuseQueries);
            lease.grow_to(1).unwrap();
            assert_eq!(accountant.used(), (10 << 20) + LEASE_STEP_BYTES);
            assert!(lease.grow_to(9 << 20).is_err(), "beyond its own budget");
        }
        assert_eq!(accountant.used(), 10 << 20);
        drop(owner);
        assert_eq!(accountant.used(), 0);
    }

    #[test]
    fn a_lease_is_refused_near_the_ceiling_with_numbers() {
        let accountant = Accountant::new(100 << 20);
        let owner = accountant.owner("head");
        owner.set(89 << 20);
        let lease = accountant.lease("query", 50 << 20, Pressure::RefuseQueries);
        let refused = lease.grow_to(5 << 20).unwrap_err();
        assert_eq!((refused.used, refused.limit), (89 << 20, 100 << 20));
        assert_eq!(accountant.used(), 89 << 20, "a refused lease holds nothing");
        owner.set(99 << 20);
        assert_eq!(accountant.pressure(), Pressure::RefuseWrites);
    }
}

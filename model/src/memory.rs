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

/// What a lease may hold without being told to stop by [`Lease::check`].
const SPARED_BYTES: u64 = 4 * LEASE_STEP_BYTES;

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

impl Pressure {
    /// The share of the ceiling in percent from which this pressure is felt.
    fn percent(self) -> u64 {
        match self {
            Pressure::None => 0,
            Pressure::ShrinkCaches => 80,
            Pressure::RefuseQueries => 90,
            Pressure::RefuseSeries => 95,
            Pressure::RefuseWrites => 98,
        }
    }

    /// What is refused from here on, as metrics call it.
    pub fn refuses(self) -> &'static str {
        match self {
            Pressure::None => "nothing",
            Pressure::ShrinkCaches => "caches",
            Pressure::RefuseQueries => "queries",
            Pressure::RefuseSeries => "series",
            Pressure::RefuseWrites => "writes",
        }
    }
}

/// What can be refused, mildest first.
const REFUSABLE: [Pressure; 4] =
    [Pressure::ShrinkCaches, Pressure::RefuseQueries, Pressure::RefuseSeries, Pressure::RefuseWrites];

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
    /// By what was refused, as [`REFUSABLE`] has it.
    refused: [AtomicU64; 4],
    owners: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
    /// What the leases hold whose holders can be told to stop.
    stoppable: Mutex<Vec<Arc<AtomicU64>>>,
}

impl Accountant {
    /// An account with a ceiling in bytes; `u64::MAX` for none.
    pub fn new(limit: u64) -> Accountant {
        Accountant {
            shared: Arc::new(Shared {
                limit: AtomicU64::new(limit),
                owned: AtomicU64::new(0),
                leased: AtomicU64::new(0),
                refused: Default::default(),
                owners: Mutex::new(Vec::new()),
                stoppable: Mutex::new(Vec::new()),
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

    /// Moves the ceiling, as when a container's limit changes.
    pub fn set_limit(&self, limit: u64) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes in use: what owners report and leases hold.
    pub fn used(&self) -> u64 {
        self.shared.owned.load(Ordering::Relaxed) + self.shared.leased.load(Ordering::Relaxed)
    }

    /// How often memory was refused.
    pub fn refusals(&self) -> u64 {
        self.shared.refused.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How often memory was refused, by what was refused.
    pub fn refusals_by_kind(&self) -> Vec<(&'static str, u64)> {
        let kinds = REFUSABLE.iter().zip(&self.shared.refused);
        kinds.map(|(kind, count)| (kind.refuses(), count.load(Ordering::Relaxed))).collect()
    }

    /// How near the ceiling the process is.
    pub fn pressure(&self) -> Pressure {
        let felt = |&&kind: &&Pressure| passes(self.used(), self.limit(), kind);
        REFUSABLE.iter().rev().find(felt).copied().unwrap_or(Pressure::None)
    }

    /// Makes sure that something may grow by `wanted` bytes although nobody
    /// holds a lease for it: a series that is to be made.
    ///
    /// # Errors
    /// The process is so near its ceiling that this kind is refused.
    pub fn admit(&self, by: &str, wanted: u64, refuse_from: Pressure) -> Result<(), MemoryRefused> {
        let (used, limit) = (self.used(), self.limit());
        match passes(used.saturating_add(wanted), limit, refuse_from) {
            true => Err(self.refusal(by, refuse_from, wanted, used, limit)),
            false => Ok(()),
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
    /// `refuse_from` is the pressure at which growing is refused: anything but
    /// none at all.
    pub fn lease(&self, by: &str, budget: u64, refuse_from: Pressure) -> Lease {
        Lease { accountant: self.clone(), by: by.to_owned(), budget, refuse_from, reserved: Arc::default() }
    }

    fn refusal(&self, by: &str, kind: Pressure, wanted: u64, used: u64, limit: u64) -> MemoryRefused {
        if let Some(at) = REFUSABLE.iter().position(|&have| have == kind) {
            self.shared.refused[at].fetch_add(1, Ordering::Relaxed);
        }
        MemoryRefused { by: by.to_owned(), wanted, used, limit }
    }
}

/// Whether so many bytes reach the share at which something is refused.
fn passes(used: u64, limit: u64, kind: Pressure) -> bool {
    u128::from(used) * 100 >= u128::from(limit) * u128::from(kind.percent())
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

    /// Reports that the owner holds more than it said.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.owned.fetch_add(bytes, Ordering::Relaxed);
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
    reserved: Arc<AtomicU64>,
}

impl Lease {
    /// The same lease of a holder that asks [`Lease::check`] again and again, and
    /// stops where it is told to.
    pub fn stoppable(self) -> Lease {
        self.accountant.shared.stoppable.lock().push(self.reserved.clone());
        self
    }

    /// Its holder cannot be stopped any more, as when an answer is sent.
    pub fn unstoppable(&self) {
        self.accountant.shared.stoppable.lock().retain(|one| !Arc::ptr_eq(one, &self.reserved));
    }

    /// Whether none of those that can be stopped holds more.
    fn is_largest(&self) -> bool {
        let stoppable = self.accountant.shared.stoppable.lock();
        // Of equals the first.
        let mut largest: Option<(u64, &Arc<AtomicU64>)> = None;
        for one in stoppable.iter() {
            let bytes = one.load(Ordering::Relaxed);
            if largest.is_none_or(|(most, _)| bytes > most) {
                largest = Some((bytes, one));
            }
        }
        largest.is_none_or(|(_, one)| Arc::ptr_eq(one, &self.reserved))
    }

    /// Makes sure that at least `bytes` are reserved in all.
    ///
    /// # Errors
    /// The lease's own budget or the process' ceiling would be passed.
    pub fn grow_to(&self, bytes: u64) -> Result<(), MemoryRefused> {
        let shared = &self.accountant.shared;
        let mut have = self.reserved.load(Ordering::Relaxed);
        while bytes > have {
            if bytes > self.budget {
                let kind = self.refuse_from;
                return Err(self.accountant.refusal(&self.by, kind, bytes - have, have, self.budget));
            }
            let target = bytes.next_multiple_of(LEASE_STEP_BYTES).min(self.budget);
            let more = target - have;
            let used = shared.leased.fetch_add(more, Ordering::Relaxed)
                + shared.owned.load(Ordering::Relaxed)
                + more;
            let limit = self.accountant.limit();
            if passes(used, limit, self.refuse_from) {
                shared.leased.fetch_sub(more, Ordering::Relaxed);
                return Err(self.accountant.refusal(&self.by, self.refuse_from, more, used - more, limit));
            }
            // Another thread of the same holder may have been faster.
            match self.reserved.compare_exchange(have, target, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => {
                    shared.leased.fetch_sub(more, Ordering::Relaxed);
                    have = now;
                }
            }
        }
        Ok(())
    }

    /// Gives back what is reserved beyond `bytes`.
    pub fn shrink_to(&self, bytes: u64) {
        let target = bytes.next_multiple_of(LEASE_STEP_BYTES).min(self.budget);
        let before = self.reserved.fetch_min(target, Ordering::Relaxed);
        self.accountant.shared.leased.fetch_sub(before.saturating_sub(target), Ordering::Relaxed);
    }

    /// Whether its holder may go on: an error once the process is as near its
    /// ceiling as `stop_from` and no other holder that can be stopped has more.
    /// Where even writes are refused all stop, but for those that hold no more
    /// than a few steps, as what alerting rules ask does. For holders that grow
    /// beyond what they reserve.
    ///
    /// # Errors
    /// The holder shall stop, so that others can go on.
    pub fn check(&self, stop_from: Pressure) -> Result<(), MemoryRefused> {
        let (used, limit) = (self.accountant.used(), self.accountant.limit());
        if !passes(used, limit, stop_from) || self.reserved() <= SPARED_BYTES {
            return Ok(());
        }
        if passes(used, limit, Pressure::RefuseWrites) || self.is_largest() {
            return Err(self.accountant.refusal(&self.by, self.refuse_from, LEASE_STEP_BYTES, used, limit));
        }
        Ok(())
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.unstoppable();
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
    fn a_lease_shrinks_to_what_is_left_to_hold() {
        let accountant = Accountant::new(100 << 20);
        let lease = accountant.lease("query", u64::MAX, Pressure::RefuseQueries);
        lease.grow_to(8 << 20).unwrap();
        lease.shrink_to(100);
        assert_eq!((lease.reserved(), accountant.used()), (LEASE_STEP_BYTES, LEASE_STEP_BYTES));
        lease.shrink_to(8 << 20);
        assert_eq!(lease.reserved(), LEASE_STEP_BYTES, "it never grows this way");
        drop(lease);
        assert_eq!(accountant.used(), 0);
    }

    #[test]
    fn threads_of_one_holder_reserve_what_the_largest_needs() {
        let accountant = Accountant::new(1 << 40);
        let lease = accountant.lease("query", u64::MAX, Pressure::RefuseQueries);
        std::thread::scope(|scope| {
            for thread in 1..=4u64 {
                let lease = &lease;
                scope.spawn(move || (1..=2000).for_each(|n| lease.grow_to(n * thread * 10_000).unwrap()));
            }
        });
        assert_eq!(lease.reserved(), (2000u64 * 4 * 10_000).next_multiple_of(LEASE_STEP_BYTES));
        assert_eq!(accountant.used(), lease.reserved());
        drop(lease);
        assert_eq!(accountant.used(), 0, "nothing is left on the account");
    }

    #[test]
    fn the_largest_holder_stops_first_where_room_is_used_up() {
        let accountant = Accountant::new(100 << 20);
        let lease = |by: &str, bytes: u64| {
            let lease = accountant.lease(by, u64::MAX, Pressure::RefuseQueries).stoppable();
            lease.grow_to(bytes).unwrap();
            lease
        };
        let (middle, large, small) = (lease("middle", 4 << 20), lease("large", 8 << 20), lease("small", 100));
        let body = accountant.lease("a body, which nobody can stop", u64::MAX, Pressure::RefuseWrites);
        body.grow_to(20 << 20).unwrap();
        let rest = accountant.owner("rest");
        let stops = |lease: &Lease| lease.check(Pressure::RefuseSeries).is_err();
        rest.set(60 << 20);
        assert!(!stops(&large));
        rest.set(64 << 20);
        let refused = large.check(Pressure::RefuseSeries).unwrap_err();
        assert_eq!((refused.by.as_str(), refused.limit), ("large", 100 << 20));
        assert!(!stops(&middle), "the largest is on its way out");
        assert!(!stops(&small), "what a rule asks goes on");
        rest.set(67 << 20);
        assert!(stops(&middle) && stops(&large), "where even writes are refused nobody is waited for");
        assert!(!stops(&small));
        large.unstoppable();
        rest.set(64 << 20);
        assert!(stops(&middle), "an answer on its way is waited for by nobody");
        drop(large);
        rest.set(72 << 20);
        assert!(stops(&middle), "the next is the largest");
        drop((middle, small));
        assert!(accountant.shared.stoppable.lock().is_empty());
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

    #[test]
    fn refusals_come_in_their_order_and_are_counted_by_kind() {
        let accountant = Accountant::new(1000 << 20);
        let owner = accountant.owner("head");
        let refused = |percent: u64| {
            owner.set((percent * 10) << 20);
            let lease = |kind| accountant.lease("it", u64::MAX, kind).grow_to(1).is_err();
            [
                lease(Pressure::RefuseQueries),
                accountant.admit("a series", 1, Pressure::RefuseSeries).is_err(),
                lease(Pressure::RefuseWrites),
            ]
        };
        assert_eq!(refused(79), [false, false, false]);
        assert_eq!(refused(90), [true, false, false]);
        assert_eq!(refused(95), [true, true, false]);
        assert_eq!(refused(98), [true, true, true]);
        let counts = accountant.refusals_by_kind();
        assert_eq!(counts, [("caches", 0), ("queries", 3), ("series", 2), ("writes", 1)]);
        accountant.set_limit(2000 << 20);
        assert_eq!(accountant.pressure(), Pressure::None, "the ceiling was raised");
        owner.add(700 << 20);
        assert_eq!(accountant.pressure(), Pressure::ShrinkCaches);
    }
}

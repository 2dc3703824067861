//! The process' allocator, and how it gives memory back.
//!
//! mimalloc keeps what was freed for a second, and looks at what it keeps only
//! when somebody allocates: after one large answer a quiet server held four
//! times what it needed, and a ceiling of memory that goes by what the process
//! holds then refused every query. So freed memory is kept for a shorter while
//! ([`KEPT_FREE_MS`]), and [`give_back`] is called by a tick.
//!
//! What the program asks for is counted on the way ([`figures`]): beside what is
//! resident in the allocator's hands, the difference is its own, blocks rounded
//! up, blocks free in pages that others hold, pages kept for a while.
//!
//! The calls into C are all there is to be careful about: mimalloc's own crate has
//! no safe words for them.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::c_long;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use mimalloc::MiMalloc;

/// The allocator: `#[global_allocator] static ALLOCATOR: allocator::Allocator = allocator::ALLOCATOR;`
pub struct Allocator {
    inner: MiMalloc,
}

/// The only one there is.
pub const ALLOCATOR: Allocator = Allocator { inner: MiMalloc };

/// Counts that threads share in turn: few enough to be summed often, enough that
/// two threads seldom meet.
const COUNTS: usize = 64;

/// A count on a cache line of its own. It may be negative: what one thread asked
/// for another gives back.
#[repr(align(64))]
struct Count(AtomicI64);

static REQUESTED: [Count; COUNTS] = [const { Count(AtomicI64::new(0)) }; COUNTS];
static NEXT_COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which count is this thread's; it has no destructor, so it can always be read.
    static MY_COUNT: Cell<usize> = const { Cell::new(COUNTS) };
}

#[inline]
fn count(bytes: i64) {
    let at = MY_COUNT.with(|mine| {
        if mine.get() == COUNTS {
            mine.set(NEXT_COUNT.fetch_add(1, Ordering::Relaxed) % COUNTS);
        }
        mine.get()
    });
    REQUESTED[at].0.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to mimalloc's own implementation as it is; counting
// allocates nothing and cannot panic, as no index reaches the array's length.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that are asked for.
        let block = unsafe { self.inner.alloc(layout) };
        if !block.is_null() {
            count(layout.size() as i64);
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        if !block.is_null() {
            count(layout.size() as i64);
        }
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { self.inner.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if !moved.is_null() {
            count(new_size as i64 - layout.size() as i64);
        }
        moved
    }
}

/// What the allocator has to do with the process' memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Bytes that the program asked for and did not give back.
    pub requested: u64,
    /// Bytes in the allocator's hands that are resident. What it has committed is no
    /// measure of that: purged pages stay committed, and untouched ones are.
    pub resident: u64,
}

impl Figures {
    /// Bytes that nobody asked for: the allocator's own.
    pub fn own(&self) -> u64 {
        self.resident.saturating_sub(self.requested)
    }
}

/// Bytes that the program asked for and did not give back. What several threads at
/// work ask for is summed one after the other, so that it can be off by what is asked
/// for meanwhile.
pub fn requested() -> u64 {
    let requested: i64 = REQUESTED.iter().map(|count| count.0.load(Ordering::Relaxed)).sum();
    u64::try_from(requested).unwrap_or(0)
}

/// The figures of this moment; the kernel walks the process' mappings for them, some
/// milliseconds where those are large. Without its list of mappings nothing is
/// resident.
pub fn figures() -> Figures {
    let mappings = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    Figures { requested: requested(), resident: resident(&mappings, is_ours) }
}

/// Sums what is resident of the mappings, of no file, that have a block of the
/// allocator's: it knows pages of [`SLICE`], and the kernel may have joined what it
/// reserved with the neighbours.
fn resident(mappings: &str, is_ours: impl Fn(usize) -> bool) -> u64 {
    let mut ours = false;
    let mut kib = 0;
    for line in mappings.lines() {
        let mut fields = line.split_ascii_whitespace();
        let first = fields.next().unwrap_or_default();
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        if let Some((Some(from), Some(until))) = first.split_once('-').map(|(a, b)| (address(a), address(b)))
        {
            let is_file = fields.nth(3).is_some_and(|inode| inode != "0");
            ours = !is_file && (from..until).step_by(SLICE).any(&is_ours);
        } else if ours && first == "Rss:" {
            kib += fields.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    kib * 1024
}

/// The allocator's smallest page.
const SLICE: usize = 64 << 10;

fn is_ours(address: usize) -> bool {
    // SAFETY: looks the address up in the allocator's tables and reads nothing there.
    unsafe { libmimalloc_sys::mi_is_in_heap_region(std::ptr::without_provenance(address)) }
}

/// How long freed memory is kept for the next who wants some, in ms.
///
/// At 200,000 series under scrape load: 1,000 ms hold 646 B a series at the end
/// of 18 s of processor time in the program and 2.5 s in the kernel; 100 ms hold
/// 575 B at 2.9 s in the kernel; none at all holds 551 B at 5.1 s.
pub const KEPT_FREE_MS: u32 = 100;

/// mimalloc's number of the option `purge_delay`, the same in its versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Has freed memory kept for [`KEPT_FREE_MS`] only. Called once, first of all.
pub fn keep_free_memory_shortly() {
    // SAFETY: sets a number in a table of the allocator, by an index that the
    // test below finds to be in it.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, c_long::from(KEPT_FREE_MS)) }
}

/// Gives back to the system what has been free for long enough.
pub fn give_back() {
    // SAFETY: takes no pointer and may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(false) }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the allocator goes by the machine's clock, and its figures are the system's"
)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    #[global_allocator]
    static GLOBAL: Allocator = ALLOCATOR;

    /// The figures are the whole process': tests that look at them take turns.
    static TURN: Mutex<()> = Mutex::new(());

    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn the_number_is_that_of_the_delay() {
        // SAFETY: reads a number of the allocator's table.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // The option that is a second long by default is the delay and no other.
        assert!([1000, c_long::from(KEPT_FREE_MS)].contains(&delay()), "{}", delay());
        keep_free_memory_shortly();
        assert_eq!(delay(), c_long::from(KEPT_FREE_MS));
    }

    #[test]
    fn what_is_asked_for_and_given_back_is_counted_over_all_threads() {
        const ROUNDS: usize = 300;
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |n: usize| (0..n).map(|i| vec![1u8; 1000 + i % 7 * 500]).collect::<Vec<_>>();
        let bytes = |held: &[Vec<u8>]| held.iter().map(Vec::capacity).sum::<usize>();
        let before = figures();
        // One thread asks, another lets blocks grow, a third gives them back.
        let mut blocks = std::thread::scope(|scope| scope.spawn(|| held(20_000)).join().unwrap());
        let first = bytes(&blocks) as u64;
        let after = figures();
        let slack = 1 << 20;
        assert!(after.requested.abs_diff(before.requested + first) < slack, "{before:?} {first} {after:?}");
        // Other tests may hold blocks that they did not touch.
        assert!(after.resident + slack >= first, "{after:?}");
        let blocks = std::thread::scope(|scope| {
            let grow = move || {
                blocks.iter_mut().take(ROUNDS).for_each(|block| block.resize(100_000, 2));
                blocks
            };
            scope.spawn(grow).join().unwrap()
        });
        let grown = bytes(&blocks) as u64;
        assert!(grown > first + 20_000_000);
        assert!(figures().requested.abs_diff(before.requested + grown) < slack, "{before:?} {grown}");
        std::thread::scope(|scope| scope.spawn(move || drop(blocks)).join().unwrap());
        assert!(figures().requested.abs_diff(before.requested) < slack, "{before:?} {:?}", figures());
    }

    #[test]
    fn mappings_of_the_allocator_are_summed() {
        let mappings = "1000-3000 rw-p 00000000 00:00 0 \nSize: 8 kB\nRss:  4 kB\nPss: 4 kB\n\
            3000-90000 rw-p 00000000 00:00 0\nRss: 100 kB\n\
            90000-91000 r--p 00000000 08:01 77 /usr/lib/rss: x\nRss: 1000 kB\n";
        let of = |ours: &[usize]| resident(mappings, |address| ours.contains(&address));
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[0x1000]), 4096);
        assert_eq!(of(&[0x3000 + SLICE, 0x1000, 0x90000]), 104 * 1024);
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let held = vec![1u8; 3 << 20];
        assert!(is_ours(held.as_ptr() as usize + 5));
        assert!(!is_ours(std::ptr::from_ref(&TURN) as usize));
        let now = figures();
        assert!(now.resident >= 3 << 20 && now.resident <= resident_kib() * 1024 * 2, "{now:?}");
    }

    #[test]
    fn what_other_threads_freed_is_given_back() {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        keep_free_memory_shortly();
        let started = std::time::Instant::now();
        // What other tests freed goes first.
        while resident_kib() > 50_000 {
            assert!(started.elapsed().as_secs() < 20, "{}", resident_kib());
            give_back();
            std::thread::yield_now();
        }
        let before = resident_kib();
        let blocks: Vec<Vec<u8>> = std::thread::scope(|scope| {
            scope.spawn(|| (0..2000).map(|_| vec![1; 64 << 10]).collect()).join().unwrap()
        });
        let full = resident_kib();
        assert!(full > before + 100_000, "{before} {full}");
        drop(blocks);
        let started = std::time::Instant::now();
        while resident_kib() > before + 30_000 {
            assert!(started.elapsed().as_secs() < 20, "{before} {full} {}", resident_kib());
            give_back();
            std::thread::yield_now();
        }
    }
}

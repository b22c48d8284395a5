use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator for small blocks, and for large ones memory that stays with the process.
///
/// A training step frees and takes the same large blocks again and again. The system's allocator gives them back in
/// between, which costs a page fault for every 4 KiB that is touched anew, or keeps them and leaves holes. Here they lie
/// in one range of addresses, in pages of 2 MiB where the system has such, and each gets the smallest free place that is
/// large enough, so that the blocks of a step fit where those of the last one were. The price is that freed memory is
/// not there for other programs. Where there is no such range (systems other than Linux, a limit on addresses), and for
/// what does not fit into it, the system's allocator serves.
#[derive(Debug)]
pub struct LargeBlocks {
    #[cfg(target_os = "linux")]
    range: std::sync::Mutex<Option<linux::Range>>,
}

impl LargeBlocks {
    /// The allocator, before it has taken anything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            range: std::sync::Mutex::new(None),
        }
    }
}

impl Default for LargeBlocks {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: blocks are the system allocator's, or pages of a range that no other block has (see `linux::Range`).
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for LargeBlocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(target_os = "linux")]
        if let Some((block, _)) = self.take(layout) {
            return block;
        }
        // SAFETY: by the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        #[cfg(target_os = "linux")]
        if let Some((block, used)) = self.take(layout) {
            // SAFETY: so much of the block at most is what was used before; the rest is zero, as the system gave it.
            unsafe { block.write_bytes(0, used) };
            return block;
        }
        // SAFETY: by the contract of this function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        #[cfg(target_os = "linux")]
        if self.give_back(block, layout) {
            return;
        }
        // SAFETY: by the contract of this function; the block is not of the range.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        #[cfg(target_os = "linux")]
        match self.resize(block, layout, size) {
            linux::Resize::InPlace => return block,
            linux::Resize::Move => {
                // SAFETY: the size is not zero and does not overflow, by the contract of this function; both blocks are as
                // large as what is copied, and they are two.
                return unsafe {
                    let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, size.min(layout.size()));
                        self.dealloc(block, layout);
                    }
                    moved
                };
            }
            linux::Resize::BySystem => {}
        }
        // SAFETY: by the contract of this function; the block is not of the range.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::alloc::Layout;
    use std::collections::BTreeMap;
    use std::sync::PoisonError;

    /// Blocks from so many bytes on are large.
    const LARGE: usize = 1 << 17;
    /// Blocks begin at multiples of it.
    const PAGE: usize = 1 << 12;
    /// Large pages, where the system has them.
    const LARGE_PAGE: usize = 2 << 20;

    /// Whether a block of `size` bytes, aligned as `layout` says, is one for the range.
    fn is_large(size: usize, layout: Layout) -> bool {
        size >= LARGE && layout.align() <= PAGE
    }

    /// How a block gets another size.
    pub(super) enum Resize {
        InPlace,
        Move,
        BySystem,
    }

    /// A range of addresses without memory behind them until they are touched.
    #[derive(Debug)]
    pub(super) struct Range {
        start: usize,
        end: usize,
        /// Nothing from here on has been given out yet.
        untouched: usize,
        /// Free places, by their beginnings: their sizes. No two touch.
        free: BTreeMap<usize, usize>,
    }

    impl Range {
        /// As many addresses as the machine has bytes of memory, and none where the system refuses.
        fn new() -> Self {
            // SAFETY: both values can always be asked for.
            #[allow(unsafe_code)]
            let [pages, page] = [libc::_SC_PHYS_PAGES, libc::_SC_PAGESIZE].map(|name| unsafe { libc::sysconf(name) });
            let size = usize::try_from(pages).unwrap_or(0).saturating_mul(usize::try_from(page).unwrap_or(0));
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping, at a place that the system chooses.
            #[allow(unsafe_code)]
            let place = unsafe { libc::mmap(std::ptr::null_mut(), size, access, kind | libc::MAP_NORESERVE, -1, 0) };
            if place == libc::MAP_FAILED {
                return Self::of(0, 0);
            }
            // SAFETY: the mapping just made. It is advice; refusal changes nothing but speed.
            #[allow(unsafe_code)]
            unsafe {
                libc::madvise(place, size, libc::MADV_HUGEPAGE);
            }
            Self::of(place.expose_provenance().next_multiple_of(LARGE_PAGE), place.expose_provenance() + size)
        }

        /// A range of addresses nobody else gives out.
        pub(super) fn of(start: usize, end: usize) -> Self {
            let free = if start < end { BTreeMap::from([(start, end - start)]) } else { BTreeMap::new() };
            Self { start, end, untouched: start, free }
        }

        /// A place of `size` bytes, in the smallest free one, and how many of its first bytes have been used before.
        pub(super) fn take(&mut self, size: usize) -> Option<(usize, usize)> {
            let large_enough = self.free.iter().filter(|(_, room)| **room >= size);
            let (&start, &room) = large_enough.min_by_key(|(_, room)| **room)?;
            self.free.remove(&start);
            if room > size {
                self.free.insert(start + size, room - size);
            }
            let used = self.untouched.saturating_sub(start).min(size);
            self.untouched = self.untouched.max(start + size);
            Some((start, used))
        }

        /// Gives a place another size, if what follows it is free. Otherwise nothing changes.
        pub(super) fn resize(&mut self, start: usize, size: usize, wanted: usize) -> bool {
            if wanted < size {
                self.give_back(start + wanted, size - wanted);
            } else if wanted > size {
                let (end, more) = (start + size, wanted - size);
                let Some(room) = self.free.get(&end).copied().filter(|room| *room >= more) else { return false };
                self.free.remove(&end);
                if room > more {
                    self.free.insert(end + more, room - more);
                }
                self.untouched = self.untouched.max(start + wanted);
            }
            true
        }

        /// Makes a place free, one with the free places around it.
        pub(super) fn give_back(&mut self, mut start: usize, mut size: usize) {
            if let Some((&before, &room)) = self.free.range(..start).next_back()
                && before + room == start
            {
                self.free.remove(&before);
                (start, size) = (before, room + size);
            }
            if let Some(room) = self.free.remove(&(start + size)) {
                size += room;
            }
            self.free.insert(start, size);
        }
    }

    impl super::LargeBlocks {
        /// A large block, and how many of its first bytes have been used before.
        pub(super) fn take(&self, layout: Layout) -> Option<(*mut u8, usize)> {
            if !is_large(layout.size(), layout) {
                return None;
            }
            let size = layout.size().checked_next_multiple_of(PAGE)?;
            let mut range = self.range.lock().unwrap_or_else(PoisonError::into_inner);
            let (start, used) = range.get_or_insert_with(Range::new).take(size)?;
            Some((std::ptr::with_exposed_provenance_mut(start), used.min(layout.size())))
        }

        /// Gives a block of the range another size where it is, if that can be, or says who must.
        pub(super) fn resize(&self, block: *mut u8, layout: Layout, size: usize) -> Resize {
            if !is_large(layout.size(), layout) && !is_large(size, layout) {
                return Resize::BySystem;
            }
            let mut range = self.range.lock().unwrap_or_else(PoisonError::into_inner);
            let range = range.get_or_insert_with(Range::new);
            if !(range.start..range.end).contains(&block.addr()) {
                return if is_large(size, layout) && range.end > 0 { Resize::Move } else { Resize::BySystem };
            }
            let [old, new] = [layout.size(), size].map(|size| size.next_multiple_of(PAGE));
            if is_large(size, layout) && range.resize(block.addr(), old, new) { Resize::InPlace } else { Resize::Move }
        }

        /// Takes a block back, if it is one of the range.
        pub(super) fn give_back(&self, block: *mut u8, layout: Layout) -> bool {
            if !is_large(layout.size(), layout) {
                return false;
            }
            let mut range = self.range.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(range) = range.as_mut().filter(|range| (range.start..range.end).contains(&block.addr())) else {
                return false;
            };
            range.give_back(block.addr(), layout.size().next_multiple_of(PAGE));
            true
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::collections::BTreeMap;

    use super::linux::Range;
    use super::*;

    /// Blocks of many sizes, taken and given back in a random order, never overlap; in the end all is one free place.
    #[test]
    fn blocks_do_not_overlap() {
        let mut range = Range::of(0, 1 << 20);
        let (mut blocks, mut state) = (BTreeMap::new(), 1_u64);
        for _ in 0..5_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = usize::try_from(state >> 40).unwrap();
            if number % 2 == 0 {
                let size = number % 20_000 + 1;
                let Some((start, used)) = range.take(size) else { continue };
                assert!(start + size <= 1 << 20 && used <= size);
                assert!(blocks.range(..start).next_back().is_none_or(|(before, size)| before + size <= start));
                assert!(blocks.range(start..).next().is_none_or(|(&after, _)| start + size <= after));
                blocks.insert(start, size);
            } else if let Some((&start, &size)) = blocks.iter().nth(number % blocks.len().max(1)) {
                blocks.remove(&start);
                range.give_back(start, size);
            }
        }
        assert!(!blocks.is_empty());
        blocks.into_iter().for_each(|(start, size)| range.give_back(start, size));
        assert_eq!(range.take(1 << 20).map(|(start, _)| start), Some(0));
    }

    #[test]
    fn the_smallest_place_is_taken_and_what_was_used_is_known() {
        let mut range = Range::of(0, 100);
        assert_eq!(
            [10, 5, 20, 5].map(|size| range.take(size)),
            [Some((0, 0)), Some((10, 0)), Some((15, 0)), Some((35, 0))]
        );
        range.give_back(0, 10);
        range.give_back(15, 20);
        assert_eq!(range.take(8), Some((0, 8)));
        assert_eq!(range.take(25), Some((40, 0)));
        range.give_back(40, 25);
        assert_eq!(range.take(50), Some((40, 25)));
        assert_eq!(range.take(11), Some((15, 11)));
        assert_eq!(range.take(11), None);
    }

    #[test]
    fn a_block_grows_into_what_is_free_behind_it_and_shrinks() {
        let mut range = Range::of(0, 100);
        assert_eq!([10, 10].map(|size| range.take(size)), [Some((0, 0)), Some((10, 0))]);
        assert!(!range.resize(0, 10, 11));
        assert!(range.resize(10, 10, 90));
        assert!(!range.resize(10, 90, 91));
        assert!(range.resize(10, 90, 5));
        assert_eq!(range.take(85), Some((15, 85)));
        range.give_back(10, 5);
        assert!(range.resize(0, 10, 15));
        assert_eq!(range.take(1), None);
    }

    #[test]
    fn memory_is_zeroed_and_kept_when_it_moves() {
        let blocks = LargeBlocks::new();
        for size in [100, 1 << 17, 3_000_000] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the layouts have sizes above zero; blocks are used within them, and given back once.
            #[allow(unsafe_code)]
            unsafe {
                let block = blocks.alloc(layout);
                block.write_bytes(7, size);
                let behind = blocks.alloc(layout);
                let block = blocks.realloc(block, layout, 2 * size); // must move
                assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == 7));
                block.write_bytes(7, 2 * size);
                let layout = Layout::from_size_align(2 * size, 64).unwrap();
                let block = blocks.realloc(block, layout, 3 * size); // may stay
                assert!(std::slice::from_raw_parts(block, 2 * size).iter().all(|byte| *byte == 7));
                let grown = Layout::from_size_align(3 * size, 64).unwrap();
                let block = blocks.realloc(block, grown, 2 * size);
                assert!(std::slice::from_raw_parts(block, 2 * size).iter().all(|byte| *byte == 7));
                blocks.dealloc(behind, Layout::from_size_align(size, 64).unwrap());
                blocks.dealloc(block, layout);
                let block = blocks.alloc_zeroed(layout);
                assert!(std::slice::from_raw_parts(block, 2 * size).iter().all(|byte| *byte == 0));
                blocks.dealloc(block, layout);
            }
        }
    }
}

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for large pages (2 MiB for 4 KiB) where a block is large. Touching new memory and
/// finding one's way in it then cost less. What the system cannot give so, it gives as always.
#[derive(Debug)]
pub struct LargePages;

// SAFETY: all blocks are the system allocator's; advice does not change them.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the contract of this function.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the contract of this function.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the contract of this function.
        advised(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: by the contract of this function.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The block, for whose whole large pages the system has been asked.
fn advised(block: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let before = block.align_offset(PAGE);
        if size >= 2 * PAGE && !block.is_null() && before < size {
            // SAFETY: the range lies within the block; the advice leaves its contents as they are. It may be refused.
            #[allow(unsafe_code)]
            unsafe {
                libc::madvise(block.add(before).cast(), (size - before) / PAGE * PAGE, libc::MADV_HUGEPAGE);
            }
        }
    }
    block
}

/// Keeps freed memory for the process, where the system's allocator can be told to (glibc).
///
/// A training step frees and takes the same large blocks again and again. By itself the allocator gives them back in
/// between, and touching them anew costs a page fault for every 4 KiB. The price is that freed memory is not there for
/// other programs.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Blocks below this come from the heap, and stay there. It is the most that glibc takes.
        const LARGEST: libc::c_int = 32 << 20;
        /// What the heap grows by.
        const STEP: libc::c_int = 16 << 20;
        /// The heap never shrinks.
        const NEVER: libc::c_int = -1;
        // SAFETY: glibc allows to set these at any time, from any thread.
        #[allow(unsafe_code)]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TOP_PAD, STEP);
            libc::mallopt(libc::M_TRIM_THRESHOLD, NEVER);
        }
    }
}

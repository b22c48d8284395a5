/// The memory allocator for programs that train, to be made their `#[global_allocator]`.
///
/// A training step frees and takes the same large blocks again and again. The system's allocator gives them back in
/// between, and touching them anew costs a page fault for every 4 KiB.
pub type Allocator = mimalloc::MiMalloc;

/// Keeps freed memory for the process. Without this, [`Allocator`] gives it back after some milliseconds, which is less
/// than a training step. Peak memory grows by a few per cent.
pub fn keep_freed_memory() {
    /// `mi_option_purge_delay`: milliseconds, or −1 for never.
    const PURGE_DELAY: i32 = 15;
    // SAFETY: the option exists, and mimalloc allows to set it at any time, from any thread.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

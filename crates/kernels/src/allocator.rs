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

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on, Ctrl-C (or a request to terminate) only sets the flag that is returned, so that a command ends in
/// order; the second one ends the program at once, with code 130.
pub fn watch() -> &'static AtomicBool {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            exit(130);
        }
    };
    // It fails where a handler is there already, which then is this one, or where the system has no signals.
    let _ = ctrlc::set_handler(handler);
    &INTERRUPTED
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::printer::Printer;

/// From here on, Ctrl-C (or a request to terminate) only sets the flag that is returned, so that a command ends in
/// order, and notes `answer` if there is one; the second one ends the program at once, with code 130.
pub fn watch(printer: Printer, answer: Option<&'static str>) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag still unset. Where the system refuses, signals end the program.
        let _ = flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted));
        let _ = flag::register(signal, Arc::clone(&interrupted));
    }
    if let Some(answer) = answer {
        let interrupted = Arc::clone(&interrupted);
        thread::spawn(move || {
            while !interrupted.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(100));
            }
            printer.note(answer);
        });
    }
    interrupted
}

/// From here on, Ctrl-C only sets the flag that is returned, as often as it is pressed.
pub fn flag() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // Where the system refuses, Ctrl-C ends the program.
    let _ = flag::register(SIGINT, Arc::clone(&interrupted));
    interrupted
}

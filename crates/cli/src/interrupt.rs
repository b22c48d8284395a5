use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::printer::Printer;

/// From here on, Ctrl-C, a request to terminate or a closed terminal only sets the flag that is returned, so that a
/// command ends in order, and notes `answer` if there is one; the second Ctrl-C or request ends the program at once, with
/// code 130.
pub fn watch(printer: Printer, answer: Option<&'static str>) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag still unset. Where the system refuses, signals end the program.
        let _ = flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted));
        let _ = flag::register(signal, Arc::clone(&interrupted));
    }
    #[cfg(unix)]
    if !hang_up_is_ignored() {
        // Several may come for one closed terminal, so that a second one means nothing.
        let _ = flag::register(signal_hook::consts::SIGHUP, Arc::clone(&interrupted));
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

/// Whether the program was started to outlive its terminal, as by `nohup`. Known on Linux only.
#[cfg(unix)]
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal_hook::consts::SIGHUP - 1) & 1 == 1
}

/// From here on, Ctrl-C only sets the flag that is returned, as often as it is pressed.
pub fn flag() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // Where the system refuses, Ctrl-C ends the program.
    let _ = flag::register(SIGINT, Arc::clone(&interrupted));
    interrupted
}

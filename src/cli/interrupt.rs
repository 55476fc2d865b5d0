//! Ctrl-C: the command ends at once, says so, and leaves no temporary files.
//!
//! A thread waits for SIGINT and SIGTERM, removes what this process was writing under a temporary name and ends the process. Whatever it
//! misses in that moment, as after a kill, is removed by the next fetch of the same folder or by `gc`.

use std::{
    io,
    io::IsTerminal,
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::printer::write_talk;
use crate::base::{remove_temporaries, watch_temporaries};

/// Whether Ctrl-C belongs to the command.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves Ctrl-C to the command from now on, which waits for it itself. Other signals still end the process.
pub fn leave_to_command() {
    TAKEN.store(true, Ordering::Relaxed);
}

#[expect(clippy::disallowed_methods, reason = "whatever runs cannot be asked to stop; what destructors would remove is removed here")]
/// Starts to wait for signals. Without a thread or a runtime for it, signals end the process as the system does.
pub fn watch() {
    watch_temporaries();
    let waiting = thread::Builder::new().name("mlreg-interrupt".to_owned()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let Ok(code) = runtime.and_then(|runtime| runtime.block_on(signal())) else { return };
        // On a terminal the line has a bar, or `^C`.
        let start = if io::stderr().is_terminal() { "\r\u{1b}[2K" } else { "" };
        write_talk(&format!("{start}interrupted\n"));
        remove_temporaries();
        process::exit(code);
    });
    drop(waiting);
}

/// The exit code of the signal that came.
#[cfg(unix)]
async fn signal() -> io::Result<i32> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            _ = interrupt.recv() => if !TAKEN.load(Ordering::Relaxed) { return Ok(130) },
            _ = terminate.recv() => return Ok(143),
        }
    }
}

/// The exit code of the signal that came.
#[cfg(not(unix))]
async fn signal() -> io::Result<i32> {
    loop {
        tokio::signal::ctrl_c().await?;
        if !TAKEN.load(Ordering::Relaxed) {
            return Ok(130);
        }
    }
}

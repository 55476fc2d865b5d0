//! Exit codes, for scripts and build phases. Numbers never change their meaning.

use std::process::ExitCode;

use crate::workflow::ErrorKind;

/// The exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Wrong input: an argument's meaning, a manifest, a file, or this machine's disk.
    Input = 1,
    /// Wrong usage: the command line cannot be parsed.
    Usage = 2,
    /// Verification failed: bytes differ from their digest, or results from a threshold.
    Verification = 3,
    /// The network or a remote failed; the same command may succeed later.
    Remote = 4,
    /// A bug in mlreg.
    Internal = 5,
    /// Ctrl-C (SIGINT), numbered as shells do.
    Interrupted = 130,
    /// SIGTERM, numbered as shells do.
    Terminated = 143,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Input => Self::Input,
            ErrorKind::Verification => Self::Verification,
            ErrorKind::Remote => Self::Remote,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

//! Exit codes, for scripts and build phases. Numbers never change their meaning.

use std::process::ExitCode;

use crate::workflow::ErrorKind;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Ok = 0,
    /// Something is wrong with the input: an argument's meaning, a manifest, a file, this machine's disk.
    Input = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// Bytes are not what their digest says.
    Verification = 3,
    /// The network or a remote failed; the same command may succeed later.
    Remote = 4,
    /// A bug in mlreg.
    Internal = 5,
    /// Ctrl-C, as shells number it.
    Interrupted = 130,
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

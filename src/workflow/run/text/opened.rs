//! Opened bundles and their interpreters, which keep decoded constants between calls.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{TextRunError, choice::Candidate};
use crate::{
    contract::Interface,
    eval::{Interpreter, Mode, States},
    ops,
    workflow::{Context, Error, bundles::Bundle},
};

/// An opened bundle, with the interface of its default function.
#[derive(Debug)]
pub(super) struct Opened {
    pub bundle: Bundle,
    pub interface: Interface,
}

impl Opened {
    pub(super) fn new(context: &Context, candidate: &Candidate) -> Result<Self, Error> {
        Ok(Self { bundle: candidate.open(context)?, interface: candidate.interface.clone() })
    }

    pub(super) fn runner(&self, mode: Mode) -> Runner<'_> {
        Runner { opened: self, interpreter: self.bundle.package.interpreter(ops::OPERATORS), mode }
    }
}

/// An interpreter for a bundle that runs many times.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    opened: &'a Opened,
    interpreter: Interpreter<'a>,
    mode: Mode,
}

impl<'a> Runner<'a> {
    pub(super) fn name(&self) -> &'a str {
        &self.opened.bundle.name
    }

    pub(super) fn bundle(&self) -> &'a Bundle {
        &self.opened.bundle
    }

    pub(super) fn interface(&self) -> &'a Interface {
        &self.opened.interface
    }

    pub(super) fn run(
        &self,
        function: Option<&str>,
        inputs: BTreeMap<String, Tensor>,
        states: &mut States,
    ) -> Result<BTreeMap<String, Tensor>, TextRunError> {
        let results = self.interpreter.run_with_states(function, inputs, states, self.mode);
        results.map_err(|source| TextRunError::Run { bundle: self.name().to_owned(), source })
    }

    /// An error about a tensor of this bundle.
    pub(super) fn wrong_tensor(&self, source: candle_core::Error) -> TextRunError {
        TextRunError::Tensor { bundle: self.name().to_owned(), source }
    }

    /// An error about an output that this bundle lacks.
    pub(super) fn missing(&self, missing: &'static str) -> TextRunError {
        TextRunError::Missing { package: self.name().to_owned(), missing }
    }
}

//! Running programs on the CPU: numbers to judge a conversion by, not speed.
//!
//! An [`Interpreter`] walks a function; what an operator computes comes through a lookup that is handed in, what a
//! constant holds through a [`ConstantSource`](crate::recipe::ConstantSource). Tensors are candle's: every float is an
//! `f32`, every integer an `i64`, every boolean a `u8` of 0 or 1; the declared element type says how results are
//! rounded or wrapped. A [`Package`](crate::emit::coreml::Package) from disk runs as well, [`metrics`] says how far two
//! results are apart, [`golden`] what to feed and what to expect, [`samples`] what to feed where nothing was recorded,
//! [`lockstep`] where two programs start to differ.

pub mod compare;
mod constant;
mod decoded;
mod defaults;
mod error;
mod finite;
pub mod golden;
mod interpreter;
mod kernel;
pub mod lockstep;
pub mod metrics;
pub mod pictures;
mod pipeline;
pub mod pixels;
mod plan;
pub mod samples;
mod shapes;
mod states;
mod symbols;
mod value;

pub use constant::decode;
pub use error::{EvalError, OperationError};
pub use finite::NotFinite;
pub use interpreter::{Interpreter, Limits, Mode, Operators, Watch};
pub use kernel::{Arguments, Kernel, KernelError, storage_type, view};
pub use shapes::types_of;
pub use states::States;
pub use symbols::SymbolMismatch;

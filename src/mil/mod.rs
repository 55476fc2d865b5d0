//! The intermediate representation: Core ML's Model Intermediate Language (MIL), mirrored.
//!
//! A [`Program`] has functions, a function has a block, a block has operations in an order in which every value is
//! defined before it is used. Operators are declared by an [`OpDef`]; a [`Builder`] infers every type from them,
//! [`verify`] does so again for programs that come from elsewhere. Constants are [`Recipe`]s, never bytes. Pure values:
//! nothing here reads, writes or computes tensors.

mod builder;
mod constant;
mod contract;
mod known;
mod liveness;
mod op;
mod operators;
mod patch;
mod program;
mod text;
mod verify;

pub use builder::{Argument, BuildError, Builder, Var};
pub use constant::{Constant, Value};
pub use contract::{Refusal, refusal};
pub use known::Known;
pub use liveness::{Peak, peak};
pub use op::{
    BlockTypes, Call, Default, Domain, InferError, OpDef, OpVersion, Parameter, Presence, Registry, broadcast,
};
pub use operators::OperatorSet;
pub use patch::Patch;
pub use program::{Binding, Block, Function, Operation, Program, Scope, ValueId, ValueInfo};
pub use text::print;
pub use verify::{VerifyError, is_identifier, verify};

pub use crate::{
    recipe::{Literal, Recipe},
    types::{DataType, Dimension, Symbol, TensorType, ValueType},
};

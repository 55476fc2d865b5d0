//! `select`: `a` where `cond` holds, else `b`.
//!
//! `cond`: booleans; `a`, `b`: one element type of iOS15; all three broadcast. The same at every target.

use super::{
    Op,
    support::{
        shapes::single,
        types::{BOOL, PLAIN, var},
    },
};
use crate::{
    base::Target,
    mil::{Argument, BuildError, Builder, Call, Domain, InferError, OpDef, OpVersion, Parameter, ValueType, Var, broadcast},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "select",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', PLAIN)],
            parameters: &[Parameter::new("cond", Domain::Of(BOOL)), var("a", 'T'), var("b", 'T')],
        }],
        infer,
    },
    kernel: |arguments| {
        let shape = arguments.shape(0)?;
        let wide = |name: &str| Ok::<_, crate::eval::KernelError>(arguments.tensor(name)?.broadcast_as(shape.as_slice())?);
        Ok(vec![wide("cond")?.where_cond(&wide("a")?, &wide("b")?)?])
    },
};

impl Builder {
    /// `a` where `cond` holds, else `b`.
    ///
    /// # Errors
    /// When the arguments do not fit the operator.
    pub fn select(&mut self, name: &str, cond: Var, a: impl Into<Argument>, b: impl Into<Argument>) -> Result<Var, BuildError> {
        self.op1("select", name, &[("cond", cond.into()), ("a", a.into()), ("b", b.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let (cond, a, b) = (call.tensor("cond")?, call.tensor("a")?, call.tensor("b")?);
    let misfit = || InferError::rule("cond", format!("{cond}, {a} and {b} do not broadcast"));
    let values = broadcast(&a.shape, &b.shape).ok_or_else(misfit)?;
    single(a.dtype, broadcast(&cond.shape, &values).ok_or_else(misfit)?)
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("select");
    }

    #[test]
    fn shapes_must_broadcast() {
        let arguments = [("cond", testing::boolean(&[2])), ("a", testing::float32(&[3])), ("b", testing::float32(&[3]))];
        let why = "parameter `cond`: tensor<bool, [2]>, tensor<fp32, [3]> and tensor<fp32, [3]> do not broadcast";
        testing::refuses("select", Target::Ios15, &arguments, why);
    }
}

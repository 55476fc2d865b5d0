//! `argsort`: the indices that sort `x` along `axis`, descending unless `ascending`.
//!
//! `x`: float16, float32 or int32; the result is int32 of its shape. Equal elements keep their order here. The same at
//! every target.

use super::{
    Op,
    support::{
        defaults,
        sort::{indices, order},
        types::{NUMBER, X, boolean, int},
    },
};
use crate::{
    base::Target,
    mil::{DataType, OpDef, OpVersion},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "argsort",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', NUMBER)],
            parameters: &[X, int("axis").default(defaults::last), boolean("ascending").default(defaults::off)],
        }],
        infer: |call| {
            let x = call.tensor("x")?;
            call.axis("axis", x.rank())?;
            Ok(vec![x.with_dtype(DataType::Int32).into()])
        },
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let axis = arguments.call.axis("axis", x.rank())?;
        let sorted = order(x, axis, arguments.call.bool("ascending")?)?;
        Ok(vec![indices(x, axis, x.dims()[axis], &sorted)?])
    },
};

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("argsort");
    }

    #[test]
    fn an_axis_outside_of_the_rank_is_refused() {
        let arguments = [("x", testing::float32(&[2, 3])), ("axis", 2.into())];
        testing::refuses("argsort", Target::Ios15, &arguments, "parameter `axis`: axis 2 is outside a tensor of rank 2");
    }
}

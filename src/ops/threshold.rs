//! `threshold`: the larger of `x` and `alpha`.
//!
//! `x`: float16, float32 or int32 of any shape; `alpha` is a scalar of its element type. The same at every target.

use super::{
    Op,
    support::{
        types::{NUMBER, X, var},
        unary::{map_number, operator},
    },
};
use crate::{base::Target, mil::OpVersion};

const VERSIONS: &[OpVersion] =
    &[OpVersion { since: Target::Ios15, domains: &[('T', NUMBER)], parameters: &[X, var("alpha", 'T').constant()] }];

pub(super) static OP: Op = operator("threshold", VERSIONS, |arguments| {
    let alpha = arguments.call.number("alpha")?;
    map_number(arguments, |x| x.max(alpha as f32), |x| x.max(alpha as i64))
});

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("threshold");
    }

    #[test]
    fn the_bound_has_the_type_of_x() {
        let arguments = [("x", testing::int32(&[2])), ("alpha", testing::constant_float32(1.0))];
        let why = "parameter `alpha` is fp32, expected a tensor of int32, as the other arguments";
        testing::refuses("threshold", Target::Ios18, &arguments, why);
    }
}

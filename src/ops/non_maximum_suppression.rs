//! `non_maximum_suppression`: boxes in the order of their best score, without those that overlap an earlier one by more
//! than `iou_threshold` (intersection over union), at most `max_boxes`; with `per_class_suppression` only boxes of one
//! best class suppress each other.
//!
//! Before iOS17: `boxes` [n, b, 4] of (x, y, width, height), x and y being the centre, `scores` [n, b, k]; boxes whose
//! score is not above `score_threshold` are out; results: boxes, scores, indices, number of boxes. iOS17: `boxes` [n,
//! 4, b], `scores` [n, k, b]; no score threshold, no number. Where nothing is left the best box is; places that stay
//! free hold zeros and index -1.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        defaults,
        shapes::{expect_shape, integers, rank_between},
        types::{FLOAT, boolean, int, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError, view},
    mil::{Call, DataType, Dimension, InferError, OpDef, OpVersion, Parameter, TensorType, ValueType},
};

const BOXES: Parameter = var("boxes", 'T');
const SCORES: Parameter = var("scores", 'T');
const IOU_THRESHOLD: Parameter = var("iou_threshold", 'T').constant();
const MAX_BOXES: Parameter = int("max_boxes");
const PER_CLASS: Parameter = boolean("per_class_suppression").default(defaults::off);

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "non_maximum_suppression",
        versions: &[
            OpVersion {
                since: Target::Ios15,
                domains: &[('T', FLOAT)],
                parameters: &[BOXES, SCORES, IOU_THRESHOLD, var("score_threshold", 'T').constant(), MAX_BOXES, PER_CLASS],
            },
            OpVersion { since: Target::Ios17, domains: &[('T', FLOAT)], parameters: &[BOXES, SCORES, IOU_THRESHOLD, MAX_BOXES, PER_CLASS] },
        ],
        infer,
    },
    kernel,
};

/// Whether boxes are the last dimension, as from iOS17 on.
fn boxes_last(call: &Call<'_>) -> bool {
    call.version().parameter("score_threshold").is_none()
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    rank_between(call, "boxes", 3, 3)?;
    rank_between(call, "scores", 3, 3)?;
    let (boxes, scores) = (call.tensor("boxes")?, call.tensor("scores")?);
    let most = Dimension::Known(integers(call, "max_boxes", 1, 1)?[0]);
    let n = boxes.shape[0];
    let last = boxes_last(call);
    let order = |count: Dimension, numbers: Dimension| if last { vec![n, numbers, count] } else { vec![n, count, numbers] };
    let (count, classes) = if last { (boxes.shape[2], scores.shape[1]) } else { (boxes.shape[1], scores.shape[2]) };
    expect_shape(call, "boxes", &order(count, Dimension::Known(4)))?;
    expect_shape(call, "scores", &order(count, classes))?;
    if count.known() == Some(0) || classes.known() == Some(0) {
        return Err(InferError::rule("scores", format!("{scores} has no scores")));
    }
    let ty = |dtype, shape| ValueType::from(TensorType { dtype, shape });
    let mut types =
        vec![ty(boxes.dtype, order(most, Dimension::Known(4))), ty(scores.dtype, order(most, classes)), ty(DataType::Int32, vec![n, most])];
    if !last {
        types.push(ty(DataType::Int32, vec![n]));
    }
    Ok(types)
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let call = arguments.call;
    let last = boxes_last(call);
    let rows = |name| -> Result<Tensor, KernelError> {
        let tensor = arguments.tensor(name)?;
        Ok(if last { tensor.transpose(1, 2)?.contiguous()? } else { tensor.contiguous()? })
    };
    let (boxes, scores) = (rows("boxes")?, rows("scores")?);
    let (pictures, count, classes) = scores.dims3()?;
    let most = call.int("max_boxes")? as usize;
    let rules = Rules {
        overlap: call.number("iou_threshold")? as f32,
        score: if last { f32::NEG_INFINITY } else { call.number("score_threshold")? as f32 },
        most,
        per_class: call.bool("per_class_suppression")?,
    };
    let kept: Vec<Vec<usize>> = view(&boxes, |boxes: &[f32]| {
        view(&scores, |scores: &[f32]| {
            let pictures = boxes.chunks(4 * count).zip(scores.chunks(classes * count));
            pictures.map(|(boxes, scores)| rules.kept(boxes, scores, classes)).collect()
        })
    })??;
    let picked = |rows: &Tensor, width: usize| -> Result<Tensor, KernelError> {
        let mut out = vec![0.0; pictures * most * width];
        view(rows, |rows: &[f32]| {
            for (picture, kept) in kept.iter().enumerate() {
                for (place, &index) in kept.iter().enumerate() {
                    let from = &rows[(picture * count + index) * width..][..width];
                    out[(picture * most + place) * width..][..width].copy_from_slice(from);
                }
            }
        })?;
        let out = Tensor::from_vec(out, (pictures, most, width), &Device::Cpu)?;
        Ok(if last { out.transpose(1, 2)?.contiguous()? } else { out })
    };
    let padded = |kept: &Vec<usize>| (0..most).map(|place| kept.get(place).map_or(-1, |&index| index as i64)).collect::<Vec<i64>>();
    let indices = Tensor::from_vec(kept.iter().flat_map(padded).collect::<Vec<_>>(), (pictures, most), &Device::Cpu)?;
    let mut results = vec![picked(&boxes, 4)?, picked(&scores, classes)?, indices];
    if !last {
        results.push(Tensor::from_vec(kept.iter().map(|kept| kept.len() as i64).collect::<Vec<_>>(), pictures, &Device::Cpu)?);
    }
    Ok(results)
}

/// Which boxes stay.
struct Rules {
    overlap: f32,
    score: f32,
    most: usize,
    per_class: bool,
}

impl Rules {
    fn kept(&self, boxes: &[f32], scores: &[f32], classes: usize) -> Vec<usize> {
        let best = |scores: &[f32]| (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        let class: Vec<usize> = scores.chunks(classes).map(best).collect();
        let score: Vec<f32> = scores.chunks(classes).zip(&class).map(|(scores, &class)| scores[class]).collect();
        let mut order: Vec<usize> = (0..score.len()).collect();
        order.sort_by(|&a, &b| score[b].total_cmp(&score[a]));
        let mut kept: Vec<usize> = Vec::new();
        for &candidate in order.iter().filter(|&&i| score[i] > self.score) {
            if kept.len() == self.most {
                break;
            }
            let rival = |other: usize| !self.per_class || class[other] == class[candidate];
            let suppressed = |&other: &usize| rival(other) && overlap(&boxes[4 * other..], &boxes[4 * candidate..]) > self.overlap;
            if !kept.iter().any(suppressed) {
                kept.push(candidate);
            }
        }
        if kept.is_empty() {
            kept.extend(order.first());
        }
        kept
    }
}

/// Intersection over union of two boxes of centre and size; 0 for boxes without area.
fn overlap(a: &[f32], b: &[f32]) -> f32 {
    let side = |i: usize| {
        let (low, high) = ((a[i] - a[2 + i] / 2.0).max(b[i] - b[2 + i] / 2.0), (a[i] + a[2 + i] / 2.0).min(b[i] + b[2 + i] / 2.0));
        (high - low).max(0.0)
    };
    let shared = side(0) * side(1);
    let all = a[2] * a[3] + b[2] * b[3] - shared;
    if all > 0.0 { shared / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("non_maximum_suppression");
    }

    #[test]
    fn a_box_has_four_numbers() {
        let arguments = [
            ("boxes", testing::float32(&[1, 7, 5])),
            ("scores", testing::float32(&[1, 7, 2])),
            ("iou_threshold", testing::constant_float32(0.5)),
            ("score_threshold", testing::constant_float32(0.5)),
            ("max_boxes", 3.into()),
        ];
        let why = "parameter `boxes`: expected tensor<fp32, [1, 7, 4]>, found tensor<fp32, [1, 7, 5]>";
        testing::refuses("non_maximum_suppression", Target::Ios15, &arguments, why);
    }
}

//! Sentence encoders: texts become vectors.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{
    TextRunError,
    choice::{Chosen, Encoder, fitting},
    opened::{Opened, Runner},
};
use crate::{
    contract::features::{ATTENTION_MASK, INPUT_IDS, SENTENCE_EMBEDDING, TOKEN_TYPE_IDS},
    eval::{Mode, States},
    workflow::{Context, Error},
};

/// A sentence encoder with its interpreter.
#[derive(Debug)]
pub(super) struct SentenceEncoder<'a> {
    runner: Runner<'a>,
    length: usize,
    has_types: bool,
}

/// Ids and their mask, cut or padded to `length`, and how many ids were cut. The last `tail` ids are never cut.
pub(super) fn padded(ids: &[u32], length: usize, tail: usize) -> (Vec<i64>, Vec<i64>, usize) {
    let cut = ids.len().saturating_sub(length);
    let tail = tail.min(length).min(ids.len());
    let kept = ids[..ids.len() - tail - cut.min(ids.len() - tail)].iter().chain(&ids[ids.len() - tail..]);
    let mut kept: Vec<i64> = kept.map(|&id| i64::from(id)).collect();
    kept.truncate(length);
    let mut mask = vec![1; kept.len()];
    kept.resize(length, 0);
    mask.resize(length, 0);
    (kept, mask, cut)
}

/// The cosine of the angle between two vectors; 0 if one of them is zero.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths > 0.0 { product(a, b) / lengths } else { 0.0 }
}

/// Opens the sentence encoder that fits `wanted` tokens best.
pub(super) fn open(context: &Context, chosen: &Chosen, wanted: usize) -> Result<Opened, Error> {
    let Encoder::Sentences(candidates) = &chosen.encoder else { unreachable!("sentences were asked for") };
    let missing = || TextRunError::Missing { package: chosen.name.clone(), missing: "sentence encoder" };
    let candidate = fitting(candidates, wanted, |candidate| candidate.interface.input_length(INPUT_IDS, 1));
    Opened::new(context, candidate.ok_or_else(missing)?)
}

impl<'a> SentenceEncoder<'a> {
    pub(super) fn new(opened: &'a Opened, mode: Mode) -> Self {
        let Opened { interface, .. } = opened;
        Self {
            runner: opened.runner(mode),
            length: interface.input_length(INPUT_IDS, 1),
            has_types: interface.takes(TOKEN_TYPE_IDS),
        }
    }

    /// The vector of a sentence, and how many of its tokens were cut.
    pub(super) fn embed(&self, ids: &[u32]) -> Result<(Vec<f32>, usize), TextRunError> {
        let (ids, mask, cut) = padded(ids, self.length, 1);
        let tensor = |source| self.runner.wrong_tensor(source);
        let row = |values: Vec<i64>| Tensor::from_vec(values, (1, self.length), &Device::Cpu).map_err(tensor);
        let mut inputs = BTreeMap::from([(INPUT_IDS.to_owned(), row(ids)?), (ATTENTION_MASK.to_owned(), row(mask)?)]);
        if self.has_types {
            inputs.insert(TOKEN_TYPE_IDS.to_owned(), row(vec![0; self.length])?);
        }
        let results = self.runner.run(None, inputs, &mut States::default())?;
        let embedding = results[SENTENCE_EMBEDDING].flatten_all().and_then(|it| it.to_vec1()).map_err(tensor)?;
        Ok((embedding, cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_never_cut() {
        assert_eq!(padded(&[5, 6, 7, 1], 6, 1), (vec![5, 6, 7, 1, 0, 0], vec![1, 1, 1, 1, 0, 0], 0));
        assert_eq!(padded(&[5, 6, 7, 1], 3, 1), (vec![5, 6, 1], vec![1; 3], 1));
        assert_eq!(padded(&[5, 6, 7, 8, 9], 3, 3), (vec![7, 8, 9], vec![1; 3], 2));
        assert_eq!(padded(&[5, 6], 1, 3), (vec![6], vec![1], 1));
        assert_eq!(padded(&[], 2, 1), (vec![0, 0], vec![0, 0], 0));
    }
}

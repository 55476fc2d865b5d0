//! The search for the tokens that follow: the best one each time, one by chance, or the best of several beginnings at
//! once (beam search).
//!
//! Beams are scored as transformers does with a length penalty of 1: the sum of log probabilities divided by the number
//! of tokens. The search ends when as many ends were found as there are beams and no beginning can be better than the
//! worst of them.

use std::ops::ControlFlow;

use super::sampling::{Sampling, best, log_softmax, ranked};

/// Whoever scores the next token.
pub trait NextToken {
    /// What it remembers of a beginning. Copies are independent.
    type Memory: Clone;
    /// Why it cannot.
    type Error;

    /// The memory before the first token.
    fn start(&self) -> Self::Memory;

    /// Scores of every token that may follow `token`, which follows what is remembered.
    ///
    /// # Errors
    /// When the model cannot be run.
    fn next(&self, memory: &mut Self::Memory, token: u32) -> Result<Vec<f32>, Self::Error>;
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// The best one each time.
    Greedy,
    /// By chance.
    Sample(Sampling),
    /// So many beginnings at once.
    Beam(usize),
}

/// Where a text begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The token before the first one.
    pub start: u32,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
    /// The most tokens.
    pub most: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Its tokens, without start and end.
    pub ids: Vec<u32>,
    /// Whether an end token came, and not the limit.
    pub ended: bool,
}

/// Generates a text. `watch` sees every token as soon as it is certain, with beams at the end, and may say that it is
/// enough.
///
/// # Errors
/// Those of the model.
pub fn generate<M: NextToken>(
    model: &M,
    limits: &Limits,
    strategy: Strategy,
    watch: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Generated, M::Error> {
    if let Strategy::Beam(width) = strategy {
        let found = beams(model, limits, width.max(1))?;
        // Everything is found already, so that nothing is gained by stopping.
        for &id in &found.ids {
            let _ = watch(id);
        }
        return Ok(found);
    }
    let mut random =
        fastrand::Rng::with_seed(if let Strategy::Sample(sampling) = strategy { sampling.seed } else { 0 });
    let (mut memory, mut token) = (model.start(), limits.start);
    let mut ids = Vec::new();
    while ids.len() < limits.most {
        let scores = model.next(&mut memory, token)?;
        token = match strategy {
            Strategy::Sample(sampling) => sampling.choose(&scores, &mut random),
            _ => best(&scores),
        };
        if limits.ends.contains(&token) {
            return Ok(Generated { ids, ended: true });
        }
        ids.push(token);
        if watch(token).is_break() {
            break;
        }
    }
    Ok(Generated { ids, ended: false })
}

/// A beginning.
struct Beam<M> {
    memory: M,
    ids: Vec<u32>,
    score: f64,
}

fn beams<M: NextToken>(model: &M, limits: &Limits, width: usize) -> Result<Generated, M::Error> {
    let mut beams = vec![Beam { memory: model.start(), ids: Vec::new(), score: 0.0 }];
    // Mean log probability, and the text.
    let mut ended: Vec<(f64, Vec<u32>)> = Vec::new();
    for length in 1..=limits.most {
        let mut candidates: Vec<(f64, usize, u32)> = Vec::new();
        for (index, beam) in beams.iter_mut().enumerate() {
            let token = beam.ids.last().copied().unwrap_or(limits.start);
            let scores = model.next(&mut beam.memory, token)?;
            let chances = log_softmax(&scores);
            let likely = ranked(&scores).into_iter().take(2 * width.max(limits.ends.len()));
            candidates.extend(likely.map(|id| (beam.score + chances[id as usize], index, id)));
        }
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut next = Vec::with_capacity(width);
        for (rank, (score, index, id)) in candidates.into_iter().enumerate() {
            if next.len() == width {
                break;
            }
            let beam = &beams[index];
            if !limits.ends.contains(&id) {
                let ids = beam.ids.iter().copied().chain([id]).collect();
                next.push(Beam { memory: beam.memory.clone(), ids, score });
            } else if rank < width {
                ended.push((score / length as f64, beam.ids.clone()));
            }
        }
        ended.sort_by(|a, b| b.0.total_cmp(&a.0));
        ended.truncate(width);
        beams = next;
        let reachable = beams.first().map_or(f64::NEG_INFINITY, |beam| beam.score / length as f64);
        if beams.is_empty() || ended.len() == width && ended[width - 1].0 >= reachable {
            break;
        }
    }
    let open = beams.first().map(|beam| (beam.score / beam.ids.len().max(1) as f64, beam.ids.clone()));
    Ok(match (ended.into_iter().next(), open) {
        (Some((score, ids)), Some((other, _))) if score >= other => Generated { ids, ended: true },
        (Some((_, ids)), None) => Generated { ids, ended: true },
        (_, Some((_, ids))) => Generated { ids, ended: false },
        (None, None) => Generated { ids: Vec::new(), ended: false },
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Four tokens: 0 starts, 1 ends. After 0, token 2 is a bit likelier than 3; after 2 everything is even, after 3
    /// the end is certain.
    struct Fork;

    impl NextToken for Fork {
        type Memory = Vec<u32>;
        type Error = Infallible;

        fn start(&self) -> Vec<u32> {
            Vec::new()
        }

        fn next(&self, memory: &mut Vec<u32>, token: u32) -> Result<Vec<f32>, Infallible> {
            memory.push(token);
            Ok(match token {
                0 => vec![-9.0, -9.0, 0.1, 0.0],
                2 => vec![0.0, 0.0, 0.1, 0.0],
                _ => vec![-9.0, 9.0, -9.0, -9.0],
            })
        }
    }

    fn found(strategy: Strategy, most: usize) -> Generated {
        generate(&Fork, &Limits { start: 0, ends: vec![1], most }, strategy, &mut |_| ControlFlow::Continue(()))
            .unwrap()
    }

    #[test]
    fn the_best_token_is_not_always_on_the_best_way() {
        assert_eq!(found(Strategy::Greedy, 3), Generated { ids: vec![2, 2, 2], ended: false });
        assert_eq!(found(Strategy::Beam(2), 3), Generated { ids: vec![3], ended: true });
        assert_eq!(found(Strategy::Beam(1), 3), Generated { ids: vec![2, 2, 2], ended: false });
    }

    #[test]
    fn chance_repeats_itself_with_its_seed() {
        let sample = |seed| found(Strategy::Sample(Sampling { temperature: 1.0, top_k: None, top_p: None, seed }), 30);
        assert_eq!(sample(3), sample(3));
        assert!((0..20).any(|seed| sample(seed) != sample(3)));
    }

    #[test]
    fn tokens_are_seen_as_they_come() {
        let mut seen = Vec::new();
        let limits = Limits { start: 0, ends: vec![1], most: 2 };
        let mut watch = |id| {
            seen.push(id);
            ControlFlow::Continue(())
        };
        let generated = generate(&Fork, &limits, Strategy::Greedy, &mut watch).unwrap();
        assert_eq!(seen, generated.ids);
    }

    #[test]
    fn who_watches_may_stop() {
        let limits = Limits { start: 0, ends: vec![1], most: 9 };
        let generated = generate(&Fork, &limits, Strategy::Greedy, &mut |_| ControlFlow::Break(())).unwrap();
        assert_eq!(generated, Generated { ids: vec![2], ended: false });
    }
}

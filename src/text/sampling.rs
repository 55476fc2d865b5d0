//! Choosing a token by chance: scores are divided by the temperature, then only the best `top_k`, then only the most
//! likely ones that together have the probability `top_p` stay. The same seed chooses the same tokens on every system.

/// How chance is led.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Above 1: more evenly; below 1: more certainly.
    pub temperature: f32,
    /// The best so many; all where there is none.
    pub top_k: Option<usize>,
    /// The most likely that together have this probability.
    pub top_p: Option<f32>,
    /// Where chance begins.
    pub seed: u64,
}

/// Tokens by score, the best first; of equal ones the lower id.
pub(super) fn ranked(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
    order
}

/// The token with the highest score; of equal ones the lowest id.
pub(super) fn best(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (id, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = id;
        }
    }
    best as u32
}

/// Logarithms of the probabilities that scores stand for.
pub(super) fn log_softmax(scores: &[f32]) -> Vec<f64> {
    let largest = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = scores.iter().map(|&score| libm::exp(f64::from(score) - largest)).sum();
    let offset = largest + libm::log(sum);
    scores.iter().map(|&score| f64::from(score) - offset).collect()
}

impl Sampling {
    /// A token, by chance.
    pub(super) fn choose(&self, scores: &[f32], random: &mut fastrand::Rng) -> u32 {
        let heated: Vec<f32> = scores.iter().map(|score| score / self.temperature).collect();
        let mut order = ranked(&heated);
        order.truncate(self.top_k.unwrap_or(usize::MAX).max(1));
        let kept: Vec<f32> = order.iter().map(|&id| heated[id as usize]).collect();
        let mut chances: Vec<f64> = log_softmax(&kept).into_iter().map(libm::exp).collect();
        if let Some(top_p) = self.top_p {
            let mut sum = 0.0;
            // The one that crosses the border stays.
            let count = chances
                .iter()
                .take_while(|chance| {
                    let below = sum < f64::from(top_p);
                    sum += **chance;
                    below
                })
                .count();
            chances.truncate(count.max(1));
        }
        let mut left = random.f64() * chances.iter().sum::<f64>();
        for (id, chance) in order.iter().zip(&chances) {
            left -= chance;
            if left < 0.0 {
                return *id;
            }
        }
        order[chances.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: None, top_p: None, seed: 0 };

    fn counts(sampling: Sampling, scores: &[f32]) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = vec![0; scores.len()];
        (0..4000).for_each(|_| counts[sampling.choose(scores, &mut random) as usize] += 1);
        counts
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let scores = [0.0, 1.0f32.ln() + 2.0f32.ln(), 5.0f32.ln()];
        let found = counts(PLAIN, &scores);
        for (found, expected) in found.iter().zip([500.0, 1000.0, 2500.0]) {
            assert!((*found as f64 - expected).abs() < 150.0, "{found} instead of {expected}");
        }
        let cold = counts(Sampling { temperature: 0.05, ..PLAIN }, &scores);
        assert_eq!(cold, [0, 0, 4000]);
    }

    #[test]
    fn only_the_best_or_most_likely_stay() {
        let scores = [0.0, 2.0f32.ln(), 5.0f32.ln()];
        assert_eq!(counts(Sampling { top_k: Some(1), ..PLAIN }, &scores)[2], 4000);
        assert_eq!(counts(Sampling { top_k: Some(2), ..PLAIN }, &scores)[0], 0);
        assert_eq!(counts(Sampling { top_p: Some(0.6), ..PLAIN }, &scores)[2], 4000);
        let two = counts(Sampling { top_p: Some(0.7), ..PLAIN }, &scores);
        assert!(two[0] == 0 && two[1] > 0, "{two:?}");
    }
}
